"""Verbs that prepare sweeps, methods and clusters."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tamt_ray.cli.options import Address, AsJson, File, Set
from tamt_ray.cli.speech import out, talk
from tamt_ray.cli.verb import verb
from tamt_ray.spec.schema import sweep_schema


@verb
def submit(
    file: File,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard.")
    ] = "http://127.0.0.1:8265",
    settings: Set = None,
) -> int:
    """Hand a sweep to a cluster, where it goes on without this machine."""
    from tamt_ray.cli.submit import hand_over

    return hand_over(file, settings or [], address)


@verb
def doctor(
    file: Annotated[
        Path | None, typer.Argument(help="A sweep, for its store, sources and MLflow.")
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
    settings: Set = None,
) -> int:
    """Check a cluster before money is spent, and say what to do about each fault."""
    from tamt_ray.cli.doctor import print_examination

    return print_examination(file, settings or [], address, as_json)


@verb
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("my.yaml"),
    model: Annotated[str | None, typer.Option(help="minilm, bert, hf:<repo> …")] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks, with commas between.")] = None,
    methods: Annotated[str | None, typer.Option(help="Methods, with commas between.")] = None,
    budget: Annotated[str | None, typer.Option(help="minutes, hours or paper.")] = None,
) -> None:
    """Write a minimal sweep whose lines are explained: answer four questions, or give options."""
    from tamt_ray.cli.init import QUESTIONS, ask, write_sweep

    given = {"model": model, "tasks": tasks, "methods": methods, "budget": budget}
    write_sweep(file, {name: ask(name, given[name], sys.stdin.isatty()) for name in QUESTIONS})
    out.print(str(file))
    talk.print(
        f"look at it: {file}\nits price:  python -m tamt_ray.sweep {file} --dry-run\n"
        f"run it:     python -m tamt_ray.sweep {file}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@verb
def new_method(
    name: Annotated[str, typer.Argument(help="Its name in sweep files, as in my_method.")],
    trains: Annotated[
        bool, typer.Option("--trains", help="A method that trains on text, in gangs.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="Where the package's folder is made.")] = Path(),
) -> None:
    """Write a package with a method of your own, ready to run and to change."""
    from tamt_ray.cli.new_method import write_method

    to = write_method(name, folder, trains=trains)
    out.print(str(to))
    talk.print(f'try it: cd {to} && pip install -e ".[test]" && pytest')


@verb
def schema() -> None:
    """Print the JSON schema of a sweep file, for editors."""
    sys.stdout.write(sweep_schema())
