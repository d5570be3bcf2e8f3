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

from tamt_ray.cli.explanation import matrices_of, matrices_table, settings_tables
from tamt_ray.cli.opened import Opened, held, open_sweep, put_aside
from tamt_ray.cli.tables import failure_lines, plan_table
from tamt_ray.cli.tune import print_tuning, sync_tuning, write_tuning
from tamt_ray.execution.logs import read_logs
from tamt_ray.plan.cost import Prices, prices
from tamt_ray.plan.status import decide, tally, unit_path
from tamt_ray.plan.unit import Unit, config_dict
from tamt_ray.spec.load import SpecError
from tamt_ray.spec.schema import sweep_schema
from tamt_ray.store.damage import Damage
from tamt_ray.store.trouble import HeldError, LeaseLostError, StoreError, UnwritableError
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
Address = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="A Ray cluster; without one a local Ray is used."),
]
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
    address: Address = None,
) -> None:
    """Run what is missing of a sweep."""
    with _told():
        opened = open_sweep(file, only, retry_failed=retry_failed)
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
def status(
    file: File,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and say what lands; Ctrl-C leaves.")
    ] = False,
) -> None:
    """Say what is done, what failed and why."""
    with _told():
        opened = open_sweep(file)
        if watch and not opened.sweep.tune:
            from tamt_ray.cli.watch import follow

            raise typer.Exit(follow(opened, out))
        _print_plan(opened, as_json)
        if not as_json:
            for line in failure_lines(opened.failures):
                out.print(line, style="red", highlight=False, markup=False)
            for damage in opened.damaged:
                out.print(_damage_line(opened, damage), style="yellow")
            if opened.failures:
                first = next(iter(opened.failures))[:8]
                out.print(f"try them again: python -m tamt_ray.sweep {file} --retry-failed")
                out.print(f"what a worker wrote: tamt logs {file} {first}")


Chosen = Annotated[
    str, typer.Argument(help="First digits of a unit's id, or a path such as 'search/*/omp/0.5*'.")
]


@app.command()
def explain(
    file: File,
    unit: Annotated[
        str | None,
        typer.Argument(help="One unit, by the first digits of its id or by its path."),
    ] = None,
    matrices: Annotated[
        bool, typer.Option("--matrices", help="List the matrices that are pruned of each model.")
    ] = False,
) -> None:
    """Print what every setting is and where it comes from, or all that decides one unit."""
    with _told():
        opened = open_sweep(file)
        if matrices:
            _print_matrices(opened)
        elif unit is None:
            for table in settings_tables(opened.sweep):
                out.print(table)
                out.print()
        else:
            _print_unit(opened, unit)


def _print_unit(opened: Opened, chosen: str) -> None:
    found = _one(opened, chosen, opened.plan.units)
    decision = decide(opened.plan, opened.records, opened.failures)[found.id]
    body = {
        "id": found.id,
        "path": unit_path(found),
        "decision": decision.value,
        "parents": list(found.parents),
        "config": config_dict(found.config),
    }
    out.print_json(json.dumps(body))


def _print_matrices(opened: Opened) -> None:
    from tamt_ray.data.cache import SourceError
    from tamt_ray.masks.matrices import UnsupportedModelError

    try:
        found = matrices_of(opened.sweep)
    except (SourceError, UnsupportedModelError, ValueError) as error:
        _fail(2, f"{opened.file}: {error}")
    for name, each in found.items():
        out.print(matrices_table(name, each))
        out.print()


@app.command()
def report(
    file: File,
    published: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="The paper's Fig. 5 as a table, to be drawn beside it."),
    ] = None,
) -> None:
    """Write the report from what the store holds."""
    with _told():
        from tamt_ray.analysis.published import PublishedError
        from tamt_ray.cli.results import load_published, write_report

        try:
            beside = load_published(published) if published else None
        except PublishedError as error:
            _fail(2, str(error))
        opened = open_sweep(file)
        if opened.sweep.tune:
            out.print(write_tuning(opened))
            return
        out.print(write_report(opened, published=beside))


@app.command()
def logs(file: File, unit: Chosen) -> None:
    """Print what workers wrote while they did a unit, each attempt for itself."""
    with _told():
        opened = open_sweep(file)
        found = _one(opened, unit, opened.plan.units)
        texts = read_logs(opened.store, found.kind, found.id)
        if not texts:
            _fail(2, f"{found} has no logs: it was not begun yet, or its node was lost with them")
        for text in texts:
            sys.stdout.write(text)


@app.command()
def profile(
    file: File,
    unit: Annotated[
        str | None,
        typer.Argument(help="One unit; without it the first search and the first fine-tune."),
    ] = None,
) -> None:
    """Train a few steps here and say where their time goes; nothing is kept."""
    with _told():
        opened = open_sweep(file)
        from tamt_ray.cli.profile import profile_table
        from tamt_ray.data.cache import SourceError
        from tamt_ray.execution.profile import first_units, time_steps

        units = opened.plan.units
        chosen = [_one(opened, unit, units)] if unit else first_units(units.values())
        try:
            for each in chosen:
                out.print(profile_table(time_steps(each)))
                out.print()
        except (SourceError, ValueError) as error:
            _fail(2, f"{opened.file}: {error}")


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


@app.command()
def verify(
    file: File,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set aside what is damaged; a run computes it.")
    ] = False,
) -> None:
    """Read every file of every result and compare it with its digest."""
    with _told():
        opened = open_sweep(file)
        damaged = [*opened.damaged, *opened.store.verify(opened.records.values())]
        for damage in damaged:
            out.print(_damage_line(opened, damage), style="yellow")
        files = sum(len(record.artifacts) for record in opened.records.values())
        out.print(f"{len(opened.records)} results, {files} files, {len(damaged)} damaged")
        if not damaged:
            return
        if quarantine:
            with held(opened, _warn) as (mine, _):
                put_aside(mine, mine.store.verify(mine.records.values()), _warn)
            out.print(f"compute them again: python -m tamt_ray.sweep {file}")
        else:
            out.print(f"set them aside: tamt verify {file} --quarantine")
        raise typer.Exit(1)


@app.command()
def submit(
    file: File,
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard.")
    ] = "http://127.0.0.1:8265",
) -> None:
    """Hand a sweep to a cluster, where it goes on without this machine."""
    with _told():
        from tamt_ray.cli.submit import hand_over

        code = hand_over(file, address, talk, out)
    raise typer.Exit(code)


@app.command()
def doctor(
    file: Annotated[
        Path | None, typer.Argument(help="A sweep, for its store, sources and MLflow.")
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Check a cluster before money is spent, and say what to do about each fault."""
    with _told():
        from tamt_ray.cli.doctor import print_examination

        code = print_examination(file, address, as_json, talk)
    raise typer.Exit(code)


@app.command(name="sync-mlflow")
def sync_mlflow(file: File) -> None:
    """Write everything the store holds to MLflow; what is there already stays."""
    with _told():
        from tamt_ray.tracking.tracker import sync

        opened = open_sweep(file)
        if opened.sweep.tune:
            out.print(sync_tuning(opened))
            return
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
    if opened.sweep.tune:
        print_tuning(opened, as_json, out)
        return
    known = prices(opened.plan.units, opened.records)
    statuses = tally(opened.plan, decide(opened.plan, opened.records, opened.failures), known)
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
    out.print(f"{masks} subnetworks; about {hours:,.1f} {_worth(known)}")
    out.print(f"run it: python -m tamt_ray.sweep {opened.file}")


def _worth(known: Prices) -> str:
    """What the hours left are hours of."""
    if not known.measured:
        return "GPU-hours left (a rough estimate)"
    return f"hours left on one {known.device} (measured there on {known.measured} units)"


@contextmanager
def _told() -> Generator[None]:
    """Errors meant for the user become one message and an exit code."""
    try:
        yield
    except (HeldError, LeaseLostError) as error:
        _fail(3, str(error))
    except UnwritableError as error:
        _fail(1, str(error))
    except (SpecError, StoreError) as error:
        _fail(2, str(error))
    except TrackingError as error:
        _fail(3, f"MLflow: {error}; results are safe in the store, try again later")


def _fail(code: int, message: str) -> NoReturn:
    _tell(message)
    raise typer.Exit(code)


def _damage_line(opened: Opened, damage: Damage) -> str:
    return f"damaged: {opened.plan.units[damage.id]}: {damage}; the next run computes it again"


def _warn(message: str) -> None:
    talk.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)


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
