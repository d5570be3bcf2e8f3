"""The front door: `python -m tamt_ray.sweep FILE`."""

from tamt_ray.cli.entry import run_file

if __name__ == "__main__":
    run_file()
