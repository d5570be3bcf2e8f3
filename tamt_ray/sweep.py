"""The front door: `python -m tamt_ray.sweep FILE`."""

from tamt_ray.cli.app import run_file

if __name__ == "__main__":
    run_file()
