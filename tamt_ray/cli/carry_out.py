"""Carrying out a sweep as the user sees it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tamt_ray.analysis.stats.live import LiveTables, Snapshot
from tamt_ray.cli.opened import Say, SweepContext, held, put_aside
from tamt_ray.cli.report_mark import is_current
from tamt_ray.cli.tables import failure_lines, frame_table
from tamt_ray.cli.tune import carry_out_tuning
from tamt_ray.data.cache import cache_dir, text_digest
from tamt_ray.execution.cluster.loopback import listen_on_loopback
from tamt_ray.plan.cost import prices
from tamt_ray.plan.status import Decision, decide
from tamt_ray.store.damage import outdated
from tamt_ray.store.lease import Lease
from tamt_ray.store.space import bytes_free, bytes_needed
from tamt_ray.store.trouble import HeldError, LeaseLostError, StoreError, UnwritableError
from tamt_ray.tracking.place import LAST_WORDS, SHORT_WORDS, ui_command
from tamt_ray.tracking.tracker import Tracker


@dataclass(frozen=True)
class Request:
    """What the user asked for beside the sweep itself."""

    address: str | None
    fail_fast: bool
    as_json: bool


def carry_out(opened: SweepContext, request: Request, talk: Console, out: Console) -> int:
    """Run what is missing, write the report, say where everything is; returns the exit code.

    Ray is imported only where something is missing.
    """
    if opened.sweep.tune:
        return carry_out_tuning(opened, request, talk, out)
    talk.print(
        f"{opened.sweep.name}: {len(opened.plan.units)} units, {len(opened.records)} done, "
        f"{opened.missing} to run"
    )
    if opened.missing == 0:
        return _nothing_to_do(opened, request, talk, out)
    try:
        with held(opened, _told(talk)) as (mine, lease):
            if mine.missing == 0:
                return _nothing_to_do(mine, request, talk, out)
            return _execute(mine, lease, request, talk, out)
    except HeldError as error:
        talk.print(f"{opened.file}: {error}", style="red", markup=False, soft_wrap=True)
        return 3


def _nothing_to_do(opened: SweepContext, request: Request, talk: Console, out: Console) -> int:
    # Another sweep may have computed the rest, or the last run ended before its report.
    if not is_current(opened):
        # Figures and masks bring in heavy libraries, and a finished sweep has its report.
        from tamt_ray.cli.results import write_report

        write_report(opened)
    _show(opened, _tables(opened), request.as_json, talk, out)
    return 1 if opened.failures else 0


def _execute(
    opened: SweepContext, lease: Lease, request: Request, talk: Console, out: Console
) -> int:
    if request.address is None:
        listen_on_loopback()
    from tamt_ray.cli.progress import Progress
    from tamt_ray.cli.results import report_files, write_report
    from tamt_ray.execution.cluster.connection import ClusterError
    from tamt_ray.execution.driver import Call, Ledger, run
    from tamt_ray.execution.interruption import BrokenOffError
    from tamt_ray.execution.preflight import PreflightError, check
    from tamt_ray.execution.scheduler.messages import Event
    from tamt_ray.execution.scheduler.placement import InfeasibleError
    from tamt_ray.execution.sources import changes

    sweep, plan, store = opened.sweep, opened.plan, opened.store
    try:
        changed = changes(plan.units, opened.records, check(sweep, plan.files))
    except PreflightError as error:
        talk.print(f"{opened.file}: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    if changed:
        talk.print(
            "\n".join(f"{opened.file}: {change}" for change in changed)
            + "\nput the former content back, give the new one a name of its own, or have all "
            f"computed anew in a store of its own: set `store:` in {opened.file} to another place",
            style="red", markup=False, soft_wrap=True,
        )  # fmt: skip
        return 2
    _warn_of_little_space(opened, talk)
    ledger = Ledger(opened.records, opened.failures)
    try:
        tracker = Tracker(sweep, plan, store, _spool(opened))
    except OSError as error:
        raise UnwritableError(
            f"the MLflow spool {_spool(opened)} cannot be written: {error.strerror or error}; free "
            "some space or correct the permissions, then type the same command again"
        ) from error
    tracker.start()
    # What other sweeps computed belongs into this one's experiment too.
    tracker.landed(*opened.records.values())
    known = prices(plan.units, ledger.records)
    progress = Progress(plan, set(ledger.records), set(ledger.failures), known, tracker, talk)
    try:
        with progress:
            call = Call(request.address, request.fail_fast)

            def watch(event: Event | None) -> None:
                lease.raise_if_lost()
                progress.watch(event)

            snapshot = run(sweep, plan, store, ledger, tracker, call, watch)
    except (ClusterError, InfeasibleError) as error:
        talk.print(str(error), style="red", markup=False, soft_wrap=True)
        return 3
    except BrokenOffError:
        tracker.close(SHORT_WORDS)
        raise
    except (StoreError, OSError) as error:
        tracker.close(SHORT_WORDS)
        raise BrokenOffError(3 if isinstance(error, LeaseLostError) else 1, str(error)) from error
    if stale := outdated(plan.units, ledger.records):
        for damage in stale:
            del ledger.records[damage.id]
        put_aside(opened, stale, _told(talk))
        snapshot = _tables(opened)
    files = report_files(opened)
    write_report(opened, files)
    tracker.summary(files, {"done": len(ledger.records), "failed": len(ledger.failures)})
    late = tracker.close(LAST_WORDS)
    _show(opened, snapshot, request.as_json, talk, out)
    if late:
        talk.print(
            f"MLflow has not got {late} results yet ({tracker.problem}); nothing is lost: "
            f"`tamt sync-mlflow {opened.words}` sends them",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
    return 1 if len(ledger.records) < len(plan.units) else 0


def _told(talk: Console) -> Say:
    return lambda words: talk.print(words, style="yellow", markup=False, soft_wrap=True)


def _warn_of_little_space(opened: SweepContext, talk: Console) -> None:
    """An estimate stops nobody; a disk that really runs full ends the run in good order."""
    local = opened.store.files.local
    if local is None:
        return
    decisions = decide(opened.plan, opened.records, opened.failures)
    to_run = [
        opened.plan.units[unit_id]
        for unit_id, decision in decisions.items()
        if decision in {Decision.RUN, Decision.WAIT}
    ]
    keep = opened.sweep.execution.search.keep_states
    needed, free = bytes_needed(to_run, keep_states=keep), bytes_free(local)
    if needed > free:
        _told(talk)(
            f"{local} has {free / 1e9:.1f} GB free and this run may write about "
            f"{needed / 1e9:.0f} GB; free some space, set `store:` to another disk"
            + (" or `execution.search.keep_states: false`" if keep else "")
        )


def _tables(opened: SweepContext) -> Snapshot:
    tables = LiveTables(opened.plan)
    for record in opened.records.values():
        tables.add(record)
    return tables.snapshot()


def _show(
    opened: SweepContext, snapshot: Snapshot, as_json: bool, talk: Console, out: Console
) -> None:
    report = f"{opened.store.uri}/reports/{opened.sweep.name}/report.html"
    if opened.of:
        snapshot = _tables(opened.whole)
    if as_json:
        body = {
            "done": dict(snapshot.done), "total": dict(snapshot.total),
            "failed": sorted(opened.failures), "report": report,
        }  # fmt: skip
        sys.stdout.write(json.dumps(body) + "\n")
    else:
        out.print(frame_table(snapshot.summary))
    for line in failure_lines(opened.failures):
        talk.print(line, style="red", markup=False, soft_wrap=True)
    if opened.failures:
        talk.print(
            f"try them again: python -m tamt_ray.sweep {opened.words} --retry-failed",
            soft_wrap=True,
        )
    talk.print(f"report: {report}", soft_wrap=True)
    talk.print(f"runs:   {ui_command(opened.sweep)}", soft_wrap=True)


def _spool(opened: SweepContext) -> Path:
    """A place on a disk for what MLflow has not got yet: in a local store, else in the cache of
    this machine."""
    local, name = opened.store.files.local, opened.sweep.name
    if local:
        return local / "spool" / name
    return cache_dir() / "spool" / f"{name}-{text_digest(opened.store.uri)[:12]}"
