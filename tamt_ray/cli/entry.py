"""Entry points: `tamt VERB FILE`, and `python -m tamt_ray.sweep FILE`."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tamt_ray.cli.streams import forgive_output, open_closed_streams
from tamt_ray.cli.supervisor import supervised


def main() -> None:
    """Run the `tamt` console script, or `python -m tamt_ray`."""
    open_closed_streams()
    if sys.argv[1:2] == ["run"]:
        _supervise("tamt", _any_verb)
    _any_verb()


def run_file() -> None:
    """`python -m tamt_ray.sweep`: the verb `run` alone."""
    open_closed_streams()
    _supervise("python -m tamt_ray.sweep", _run_alone)


def _supervise(program: str, act: Callable[[], None]) -> NoReturn:
    forgive_output()
    supervised(act, f"{program} {shlex.join(sys.argv[1:])}")


def _any_verb() -> None:
    # Imported after the fork: it starts threads, which a fork would lose.
    from tamt_ray.cli.app import app
    from tamt_ray.cli.speech import print_error

    if next(iter(sys.argv[1:]), "").endswith((".yaml", ".yml")):
        print_error(f"a verb stands before the file; type: tamt run {shlex.join(sys.argv[1:])}")
        sys.exit(2)
    app()


def _run_alone() -> None:
    from tamt_ray.cli.app import alone, app
    from tamt_ray.cli.speech import print_error

    word = next(iter(sys.argv[1:]), "")
    if word in {command.name for command in app.registered_commands} and not Path(word).exists():
        print_error(
            f"python -m tamt_ray.sweep runs a sweep file, and {word} is a verb of tamt; "
            f"type: tamt {shlex.join(sys.argv[1:])}"
        )
        sys.exit(2)
    alone()
