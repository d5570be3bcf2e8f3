"""The command line: `tamt VERB FILE`."""

import json
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from tamt_ray.cli.opened import Opened, open_sweep
from tamt_ray.cli.tables import failure_lines, plan_table
from tamt_ray.plan.status import decide, tally, unit_path
from tamt_ray.plan.unit import Unit, config_dict
from tamt_ray.spec.load import SpecError
from tamt_ray.spec.schema import sweep_schema
from tamt_ray.store.store import StoreError
from tamt_ray.tracking.trouble import TrackingError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Find transferable subnetworks of pre-trained language models, over a whole grid.",
)  # fmt: skip
# Paths and messages are printed as they are: `file:100:` is no emoji and `[a]` no colour.
_WIDE = None if sys.stdout.isatty() else 200
"""Columns where there is no terminal: a log or a pipe must not lose words to wrapping."""
talk = Console(stderr=True, markup=False, emoji=False, width=_WIDE)
out = Console(soft_wrap=True, markup=False, emoji=False, width=_WIDE)

File = Annotated[Path, typer.Argument(help="The sweep file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Only = Annotated[
    str | None,
    typer.Option("--only", metavar="GLOB", help="Units by path, e.g. 'finetune/*/omp/*'."),
]


@app.command()
def run(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    as_json: AsJson = False,
    only: Only = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run units again that failed before.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Start nothing new after the first failure.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="A Ray cluster; without one a local Ray is used."),
    ] = None,
) -> None:
    """Run what is missing of a sweep."""
    with _told():
        opened = open_sweep(file, only)
        if retry_failed:
            opened.failures.clear()
        if dry_run:
            _print_plan(opened, as_json)
            return
        from tamt_ray.cli.carry_out import Request, carry_out
        from tamt_ray.execution.broken import BrokenOffError

        try:
            code = carry_out(opened, Request(address, fail_fast, as_json), talk, out)
        except BrokenOffError as error:
            _tell(str(error))
            # Threads of Tune and Train are still alive, and their exit handlers would start Ray
            # anew; everything worth keeping is on disk.
            os._exit(error.code)
        except KeyboardInterrupt:
            _fail(130, "interrupted before anything ran")
    raise typer.Exit(code)


@app.command()
def plan(file: File, as_json: AsJson = False, only: Only = None) -> None:
    """Say what would run, and what it would cost."""
    with _told():
        _print_plan(open_sweep(file, only), as_json)


@app.command()
def status(file: File, as_json: AsJson = False) -> None:
    """Say what is done, what failed and why."""
    with _told():
        opened = open_sweep(file)
        _print_plan(opened, as_json)
        if not as_json:
            for line in failure_lines(opened.failures):
                out.print(line, style="red", highlight=False, markup=False)


Chosen = Annotated[
    str, typer.Argument(help="First digits of a unit's id, or a path such as 'search/*/omp/0.5*'.")
]


@app.command()
def explain(file: File, unit: Chosen) -> None:
    """Print everything that decides the result of a unit, and where it stands."""
    with _told():
        opened = open_sweep(file)
        found = _one(opened, unit, opened.plan.units)
        decision = decide(opened.plan, opened.records, opened.failures)[found.id]
        body = {
            "id": found.id,
            "path": unit_path(found),
            "decision": decision.value,
            "parents": list(found.parents),
            "config": config_dict(found.config),
        }
        out.print_json(json.dumps(body))


@app.command()
def report(file: File) -> None:
    """Write the report from what the store holds."""
    with _told():
        from tamt_ray.cli.results import write_report

        out.print(write_report(open_sweep(file)))


@app.command()
def export(
    file: File,
    unit: Chosen,
    to: Annotated[Path, typer.Argument(help="Where to write its mask (safetensors).")],
) -> None:
    """Write one subnetwork's mask to a file of its own."""
    with _told():
        opened = open_sweep(file)
        searches = [i for i, record in opened.records.items() if record.kind == "search"]
        found = _one(opened, unit, searches)
        mask = opened.store.artifact(opened.records[found.id], "mask.safetensors")
        try:
            to.write_bytes(mask)
        except OSError as error:
            _fail(
                2, f"{to} cannot be written: {error.strerror}; name a file in a directory of yours"
            )
        out.print(str(to))


@app.command(name="sync-mlflow")
def sync_mlflow(file: File) -> None:
    """Write everything the store holds to MLflow; what is there already stays."""
    with _told():
        from tamt_ray.tracking.tracker import sync

        opened = open_sweep(file)
        out.print(str(sync(opened.sweep, opened.plan, opened.store, opened.records)))


@app.command()
def schema() -> None:
    """Print the JSON schema of a sweep file, for editors."""
    sys.stdout.write(sweep_schema())


def _one(opened: Opened, chosen: str, among: Iterable[str]) -> Unit:
    """The one unit meant; where there are several, they are listed and the call ends with 2."""
    units = [opened.plan.units[unit_id] for unit_id in among]
    found = [u for u in units if u.id.startswith(chosen) or fnmatchcase(unit_path(u), chosen)]
    if len(found) == 1:
        return found[0]
    listed = "\n".join(f"  {u.id[:12]}  {unit_path(u)}" for u in (found or units)[:40])
    return _fail(2, f"{len(found)} units of {opened.file} match {chosen!r}; name one of:\n{listed}")


def _print_plan(opened: Opened, as_json: bool) -> None:
    statuses = tally(opened.plan, decide(opened.plan, opened.records, opened.failures))
    hours = sum(status.gpu_hours for status in statuses.values())
    masks = len(opened.plan.masks)
    if as_json:
        units = {
            kind: {name: value for name, value in asdict(status).items() if name != "gpu_hours"}
            for kind, status in statuses.items()
        }
        body = {"units": units, "masks": masks, "gpu_hours": round(hours, 2)}
        sys.stdout.write(json.dumps(body) + "\n")
        return
    out.print(plan_table(statuses))
    out.print(f"{masks} subnetworks; about {hours:,.1f} GPU-hours left (a rough estimate)")
    out.print(f"run it: python -m tamt_ray.sweep {opened.file}")


@contextmanager
def _told() -> Generator[None]:
    """Errors meant for the user become one message and an exit code."""
    try:
        yield
    except (SpecError, StoreError) as error:
        _fail(2, str(error))
    except TrackingError as error:
        _fail(3, f"MLflow: {error}; results are safe in the store, try again later")


def _fail(code: int, message: str) -> NoReturn:
    _tell(message)
    raise typer.Exit(code)


def _tell(message: str) -> None:
    talk.print(message, style="red", highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """The `tamt` console script."""
    app()


def run_file() -> None:
    """`python -m tamt_ray.sweep`: the verb `run` alone."""
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command()(run)
    alone()
