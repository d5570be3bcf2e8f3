"""The application that all verbs belong to."""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer

from tamt_ray.cli.speech import exit_on_error, out
from tamt_ray.values.version import __version__

P = ParamSpec("P")
app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False,
    help="Find transferable subnetworks of pre-trained language models, over a whole grid.",
)  # fmt: skip


def _version(asked: bool) -> None:
    if asked:
        out.print(f"tamt_ray {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
]


def verb(act: Callable[P, int | None]) -> Callable[P, None]:
    """Register a verb. It ends with the exit code that it returns, or with that of an error that
    is meant for the user."""

    @wraps(act)
    def acted(*arguments: P.args, **options: P.kwargs) -> None:
        with exit_on_error():
            code = act(*arguments, **options)
        raise typer.Exit(code or 0)

    app.command(act.__name__.replace("_", "-"))(acted)
    return acted


@app.callback()
def whole(version: Version = False) -> None:
    """Find transferable subnetworks of pre-trained language models, over a whole grid."""
