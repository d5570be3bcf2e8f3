"""`python -m tamt_ray VERB FILE`: the same as `tamt VERB FILE`."""

from tamt_ray.cli.entry import main

if __name__ == "__main__":
    main()
