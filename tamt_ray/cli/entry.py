"""Where processes begin: `tamt VERB FILE`, and `python -m tamt_ray.sweep FILE`."""

import sys

from tamt_ray.cli.streams import forgive_output, open_closed_streams


def main() -> None:
    """The `tamt` console script."""
    open_closed_streams()
    if sys.argv[1:2] == ["run"]:
        forgive_output()
    from tamt_ray.cli.app import app

    app()


def run_file() -> None:
    """`python -m tamt_ray.sweep`: the verb `run` alone."""
    open_closed_streams()
    forgive_output()
    from tamt_ray.cli.app import alone

    alone()
