"""Arguments and options that several verbs have."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(help="The sweep file.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE",
        help="A value of the sweep, as in search.batch_size=8 or methods.imp.steps=40, laid over "
        "the file's; part of the sweep, so other verbs need it too. May be repeated.",
    ),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Address = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="A Ray cluster; without one a local Ray is used."),
]


Only = Annotated[
    str | None,
    typer.Option("--only", metavar="GLOB", help="Units by path, e.g. 'finetune/*/omp/*'."),
]
Chosen = Annotated[
    str, typer.Argument(help="First digits of a unit's id, or a path such as 'search/*/omp/0.5*'.")
]
