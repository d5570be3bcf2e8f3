"""The command line: `tamt VERB FILE`. The verbs that run a sweep and show its state."""

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from tamt_ray.cli import views
from tamt_ray.cli.options import Address, AsJson, Chosen, File, Only, Set
from tamt_ray.cli.speech import fail, lasting_out, out, plain, print_error
from tamt_ray.cli.supervisor import leave
from tamt_ray.cli.sweep_context import SweepContext, open_sweep
from tamt_ray.cli.verb import app as app
from tamt_ray.cli.verb import verb
from tamt_ray.cli.views import one, print_plan
from tamt_ray.store.logs import read_logs


@verb
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
    settings: Set = None,
    address: Address = None,
) -> int:
    """Run what is missing of a sweep."""
    opened = open_sweep(file, only, retry_failed=retry_failed, overrides=settings)
    if dry_run:
        _plan(opened, as_json)
        return 0
    from tamt_ray.cli.carry_out import carry_out
    from tamt_ray.execution.interruption import BrokenOffError

    try:
        return carry_out(opened, address, fail_fast=fail_fast, as_json=as_json)
    except BrokenOffError as error:
        print_error(str(error))
        # Threads of Tune and Train are still alive, and their exit handlers would start Ray
        # anew; everything worth keeping is on disk.
        leave(error.code)
    except KeyboardInterrupt:
        fail(130, "interrupted; what is done is kept, the same command goes on")


@verb
def plan(
    file: File,
    as_json: AsJson = False,
    only: Only = None,
    power: Annotated[
        bool, typer.Option("--power", help="Say how many seeds it takes to see one point, from "
                           "the variance of the runs that are done.")
    ] = False,
    settings: Set = None,
) -> None:  # fmt: skip
    """Say what would run, and what it would cost."""
    opened = open_sweep(file, only, overrides=settings)
    if power:
        from tamt_ray.cli.power import print_power

        print_power(opened, as_json)
    else:
        _plan(opened, as_json)


def _plan(opened: SweepContext, as_json: bool) -> None:
    """Print the plan of a sweep whose rows at hand fit."""
    from tamt_ray.cli.rows import look_through

    print_plan(opened, as_json, look_through(opened))


@verb
def status(
    file: File,
    as_json: AsJson = False,
    settings: Set = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and say what lands; Ctrl-C leaves.")
    ] = False,
    address: Address = None,
) -> int:
    """Say what is done, what failed and why."""
    opened = open_sweep(file, overrides=settings)
    if watch and as_json:
        fail(2, "--watch prints lines for people: leave --json out")
    if as_json:
        print_plan(opened, as_json)
        return 0
    from tamt_ray.cli.watch import follow, print_state

    if watch:
        return follow(opened, lasting_out(), address)
    print_plan(opened, as_json)
    views.print_troubles(opened)
    if not opened.sweep.tune:
        print_state(opened, lasting_out(), address)
    return 0


@verb
def explain(
    file: File,
    unit: Annotated[
        str | None,
        typer.Argument(help="One unit, by the first digits of its id or by its path."),
    ] = None,
    matrices: Annotated[
        bool, typer.Option("--matrices", help="List the matrices that are pruned of each model.")
    ] = False,
    as_json: AsJson = False,
    settings: Set = None,
) -> None:
    """Print every setting of models, search and methods and where it comes from, or all that
    decides one unit."""
    opened = open_sweep(file, overrides=settings)
    if matrices:
        views.print_matrices(opened, as_json)
    elif unit is None:
        views.print_settings(opened, as_json)
    else:
        views.print_unit(opened, unit)


@verb
def report(
    file: File,
    published: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Digitised values of Fig. 5, drawn beside ours."),
    ] = None,
    settings: Set = None,
) -> None:
    """Write the report from what the store holds."""
    from tamt_ray.cli.results import load_published, mark_report, write_report

    beside = load_published(published) if published else None
    opened = open_sweep(file, overrides=settings)
    _ensure_records(opened)
    page = write_report(opened, published=beside)
    mark_report(opened)
    out.print(page)


def _ensure_records(opened: SweepContext) -> None:
    if not opened.records:
        fail(
            2,
            f"nothing to report: the store {opened.store.uri} has no result of "
            f"{opened.sweep.name!r}; `store:` is relative to the directory you type in; "
            f"run it: python -m tamt_ray.sweep {opened.words}",
        )


@verb
def results(
    file: File,
    csv: Annotated[
        bool, typer.Option("--csv", help="A row per task, in fractions, with intervals.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The same rows as one JSON list.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The table for Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="The table for LaTeX.")] = False,
    settings: Set = None,
) -> None:
    """Print the table of scores that the store holds so far."""
    from tamt_ray.cli.result_table import Form, result_table

    asked: dict[Form, bool] = {"csv": csv, "json": json, "markdown": markdown, "latex": latex}
    forms: list[Form] = [form for form, wanted in asked.items() if wanted]
    if len(forms) > 1:
        fail(2, f"one form at a time: --{' or --'.join(forms)}")
    opened = open_sweep(file, overrides=settings)
    _ensure_records(opened)
    form: Form = forms[0] if forms else "table"
    sys.stdout.write(result_table(opened, form))


@verb
def logs(file: File, unit: Chosen, settings: Set = None) -> None:
    """Print what workers wrote while they did a unit, each attempt for itself."""
    opened = open_sweep(file, overrides=settings)
    found = one(opened, unit, opened.plan.units)
    texts = read_logs(opened.store, found.kind, found.id)
    if not texts:
        fail(
            2,
            f"{found} has no logs: it was not begun yet, or its node was lost with "
            f"them; tamt status {opened.words} --watch shows when it begins",
        )
    for text in texts:
        # A progress bar's line ends where it begins again.
        sys.stdout.write(plain(text.replace("\r", "\n")))


@verb
def profile(
    file: File,
    unit: Annotated[
        str | None,
        typer.Argument(help="One unit; without it the first search and the first fine-tune."),
    ] = None,
    settings: Set = None,
) -> None:
    """Train a few steps here and say where their time goes; nothing is kept."""
    opened = open_sweep(file, overrides=settings)
    from tamt_ray.cli.tables import profile_table
    from tamt_ray.data.cache import SourceError
    from tamt_ray.execution.profile import first_units, time_steps

    units = opened.plan.units
    chosen = [one(opened, unit, units)] if unit else first_units(units.values())
    try:
        for each in chosen:
            out.print(profile_table(time_steps(each)))
            out.print()
    except (SourceError, ValueError) as error:
        fail(2, f"{opened.file}: {error}")


# The other verbs, listed behind these.
importlib.import_module("tamt_ray.cli.store_verbs")
importlib.import_module("tamt_ray.cli.setup_verbs")

alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
"""The verb `run` alone."""
alone.command()(run)
