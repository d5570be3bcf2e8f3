"""Carrying out a sweep as the user sees it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tamt_ray.analysis.live import LiveTables, Snapshot
from tamt_ray.cli.opened import Opened, open_sweep
from tamt_ray.cli.results import report_files, write_report
from tamt_ray.cli.tables import failure_lines, frame_table
from tamt_ray.data.cache import cache_dir
from tamt_ray.execution.loopback import listen_on_loopback
from tamt_ray.plan.status import Decision, decide
from tamt_ray.tracking.place import ui_command
from tamt_ray.tracking.tracker import Tracker

_LAST_WORDS, _SHORT_WORDS = 120.0, 3.0
"""Seconds the run waits for MLflow at its end, and when it is broken off."""


@dataclass(frozen=True)
class Request:
    """What the user asked for beside the sweep itself."""

    address: str | None
    fail_fast: bool
    as_json: bool


def carry_out(opened: Opened, request: Request, talk: Console, out: Console) -> int:
    """Run what is missing, write the report, say where everything is; returns the exit code.

    Ray is imported only where something is missing.
    """
    sweep, plan = opened.sweep, opened.plan
    decisions = decide(plan, opened.records, opened.failures)
    missing = sum(d in {Decision.RUN, Decision.WAIT} for d in decisions.values())
    talk.print(
        f"{sweep.name}: {len(plan.units)} units, {len(opened.records)} done, {missing} to run"
    )
    if missing == 0:
        # Another sweep may have computed the rest, or the last run ended before its report.
        if not opened.store.files.exists(f"reports/{sweep.name}/report.html"):
            write_report(opened)
        _show(opened, _tables(opened), request.as_json, talk, out)
        return 1 if opened.failures else 0
    return _execute(opened, request, talk, out)


def _execute(opened: Opened, request: Request, talk: Console, out: Console) -> int:
    if request.address is None:
        listen_on_loopback()
    from tamt_ray.cli.progress import Progress
    from tamt_ray.execution.broken import BrokenOffError
    from tamt_ray.execution.cluster import ClusterError
    from tamt_ray.execution.driver import Call, Ledger, run
    from tamt_ray.execution.placement import InfeasibleError
    from tamt_ray.execution.preflight import PreflightError, check

    sweep, plan, store = opened.sweep, opened.plan, opened.store
    try:
        check(sweep)
    except PreflightError as error:
        talk.print(f"{opened.file}: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    ledger = Ledger(opened.records, opened.failures)
    tracker = Tracker(sweep, plan, store, _spool(opened))
    tracker.start()
    # What other sweeps computed belongs into this one's experiment too.
    tracker.landed(*opened.records.values())
    progress = Progress(plan, set(ledger.records), set(ledger.failures), tracker, talk)
    try:
        with progress:
            call = Call(request.address, request.fail_fast)
            snapshot = run(sweep, plan, store, ledger, tracker, call, progress.watch)
    except (ClusterError, InfeasibleError) as error:
        talk.print(str(error), style="red", markup=False, soft_wrap=True)
        return 3
    except BrokenOffError:
        tracker.close(_SHORT_WORDS)
        raise
    files = report_files(opened)
    write_report(opened, files)
    tracker.summary(files, {"done": len(ledger.records), "failed": len(ledger.failures)})
    late = tracker.close(_LAST_WORDS)
    _show(opened, snapshot, request.as_json, talk, out)
    if late:
        talk.print(
            f"MLflow has not got {late} results yet ({tracker.problem}); nothing is lost: "
            f"`tamt sync-mlflow {opened.file}` sends them",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
    return 1 if len(ledger.records) < len(plan.units) else 0


def _tables(opened: Opened) -> Snapshot:
    tables = LiveTables(opened.plan)
    for record in opened.records.values():
        tables.add(record)
    return tables.snapshot()


def _show(opened: Opened, snapshot: Snapshot, as_json: bool, talk: Console, out: Console) -> None:
    report = f"{opened.store.uri}/reports/{opened.sweep.name}/report.html"
    if opened.part:
        snapshot = _tables(open_sweep(opened.file))
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
            f"try them again: python -m tamt_ray.sweep {opened.file} --retry-failed", soft_wrap=True
        )
    talk.print(f"report: {report}", soft_wrap=True)
    talk.print(f"runs:   {ui_command(opened.sweep)}", soft_wrap=True)


def _spool(opened: Opened) -> Path:
    """A local place for what MLflow has not got yet."""
    if opened.store.files.local:
        return opened.store.files.local / "spool" / opened.sweep.name
    return cache_dir() / "spool" / opened.sweep.name
