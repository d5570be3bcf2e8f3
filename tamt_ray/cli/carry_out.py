"""Carrying out a sweep as the user sees it."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from tamt_ray.analysis.stats.live import snapshot
from tamt_ray.analysis.tuning import best_frame, snippet
from tamt_ray.cli.opened import Say, SweepContext, held, put_aside
from tamt_ray.cli.report_mark import is_current
from tamt_ray.cli.tables import failure_lines, frame_table
from tamt_ray.cli.tune import found_by
from tamt_ray.data.cache import cache_dir, text_digest
from tamt_ray.execution.cluster.loopback import listen_on_loopback
from tamt_ray.plan.status import Decision, decide
from tamt_ray.spec.load import line_of
from tamt_ray.store.damage import outdated
from tamt_ray.store.lease import Lease
from tamt_ray.store.space import bytes_free, bytes_needed
from tamt_ray.store.states import States
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
    if opened.survey:
        drawn = sum(len(outcome.trials) for outcome in opened.survey.outcomes)
        talk.print(
            f"{opened.sweep.name}: {len(opened.survey.outcomes)} studies, {drawn} trials drawn, "
            f"{opened.to_draw} to draw"
        )
    talk.print(
        f"{opened.sweep.name}: {len(opened.plan.units)} units, {len(opened.records)} done, "
        f"{opened.missing} to run; store: {opened.store.uri}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    if not opened.missing + opened.to_draw:
        return _nothing_to_do(opened, request, talk, out)
    try:
        with held(opened, _told(talk)) as (mine, lease):
            if not mine.missing + mine.to_draw:
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
    _show(opened, request.as_json, talk, out)
    return 1 if opened.failures else 0


def _execute(
    opened: SweepContext, lease: Lease, request: Request, talk: Console, out: Console
) -> int:
    if request.address is None:
        listen_on_loopback()
    # Their imports take seconds.
    talk.print("loading PyTorch and Ray")
    from tamt_ray.cli.progress import Progress
    from tamt_ray.cli.results import report_files, write_report
    from tamt_ray.execution.activity import LiveStatus
    from tamt_ray.execution.cluster.connection import ClusterError
    from tamt_ray.execution.driver import Call, Ledger, run
    from tamt_ray.execution.interruption import BrokenOffError
    from tamt_ray.execution.preflight import PreflightError, check
    from tamt_ray.execution.proposer import Proposer
    from tamt_ray.execution.scheduler.messages import Event
    from tamt_ray.execution.scheduler.placement import InfeasibleError
    from tamt_ray.execution.sources import changes

    sweep, plan, store = opened.grid, opened.plan, opened.store
    progress = Progress(plan, talk)
    try:
        with progress:
            progress.stage("reading models, corpus and tasks, and fetching what is missing")
            changed = changes(plan.units, opened.records, check(sweep, plan.files, plan.texts))
    except PreflightError as error:
        where = line_of(opened.file, error.at, opened.overrides) if error.at else opened.file
        talk.print(f"{where}: {error}", style="red", markup=False, soft_wrap=True)
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
    progress.tracker = tracker
    try:
        with progress:
            known = opened.prices()
            call = Call(
                request.address, request.fail_fast, known if known.measured else None,
                opened.whole.plan if opened.of else None,
            )  # fmt: skip

            def watch(event: Event | LiveStatus) -> None:
                lease.raise_if_lost()
                progress.watch(event)

            progress.stage(
                f"joining the Ray at {request.address}" if request.address else "starting Ray"
            )
            proposer = Proposer(opened.sweep, store, opened.diverged) if opened.survey else None
            run(sweep, plan, store, ledger, tracker, call, watch, proposer)
    except (ClusterError, InfeasibleError) as error:
        talk.print(str(error), style="red", markup=False, soft_wrap=True)
        return 3
    except BrokenOffError:
        tracker.close(SHORT_WORDS)
        raise
    except (StoreError, OSError) as error:
        tracker.close(SHORT_WORDS)
        raise BrokenOffError(3 if isinstance(error, LeaseLostError) else 1, str(error)) from error
    if opened.survey:
        opened = replace(opened, retry_failed=False).again(store)
        ledger, plan = Ledger(opened.records, opened.failures), opened.plan
        if opened.survey and opened.survey.over and not sweep.execution.search.keep_states:
            # Kept for the rungs above, which are not trained any more.
            for unit in plan.units.values():
                if unit.goes_on:
                    States(store.files, unit.trajectory).clear()
    if stale := outdated(plan.units, ledger.records):
        for damage in stale:
            del ledger.records[damage.id]
        put_aside(opened, stale, _told(talk))
    with progress.closing():
        progress.stage("writing the report")
        files = report_files(opened)
        write_report(opened, files)
        numbers = {"done": len(ledger.records), "failed": len(ledger.failures)}
        tracker.summary(files, {**numbers, **best_objectives(opened)})
        progress.stage("sending the last results to MLflow")
        late = tracker.close(LAST_WORDS)
    _show(opened, request.as_json, talk, out)
    if late:
        talk.print(
            f"MLflow has not got {late} results yet ({tracker.problem}); nothing is lost: "
            f"`tamt sync-mlflow {opened.words}` sends them",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
    return 1 if opened.to_draw or len(ledger.records) < len(plan.units) else 0


def best_objectives(opened: SweepContext) -> dict[str, float]:
    """Return the smallest objective of each study of a tuning, by the study's name."""
    outcomes = opened.survey.outcomes if opened.survey else ()
    return {
        f"{outcome.study.path}/objective": outcome.objective(best)
        for outcome in outcomes
        if (best := outcome.best())
    }


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


def _show(opened: SweepContext, as_json: bool, talk: Console, out: Console) -> None:
    report = f"{opened.store.uri}/reports/{opened.sweep.name}/report.html"
    tables = snapshot(opened.whole.plan, opened.whole.records)
    if as_json:
        body: dict[str, object] = {
            "done": dict(tables.done), "total": dict(tables.total),
            "failed": sorted(opened.failures), "report": report,
        }  # fmt: skip
        if opened.survey:
            body["studies"] = {o.study.path: found_by(o) for o in opened.survey.outcomes}
        sys.stdout.write(json.dumps(body) + "\n")
    elif opened.survey:
        out.print(frame_table(best_frame(opened.survey.outcomes)))
        out.print(f"\n{snippet(opened.survey.outcomes)}", end="", markup=False, highlight=False)
    else:
        out.print(frame_table(tables.summary, tables.best))
        out.print(tables.answer.text, highlight=False)
    for line in failure_lines(opened.failures):
        talk.print(line, style="red", markup=False, soft_wrap=True)
    if opened.failures:
        talk.print(
            f"try them again: python -m tamt_ray.sweep {opened.words} --retry-failed",
            soft_wrap=True,
        )
    talk.print(f"store:  {opened.store.uri}", soft_wrap=True, highlight=False)
    talk.print(f"report: {report}", soft_wrap=True, highlight=False)
    talk.print(f"runs:   {ui_command(opened.sweep)}", soft_wrap=True, highlight=False)


def _spool(opened: SweepContext) -> Path:
    """A place on a disk for what MLflow has not got yet: in a local store, else in the cache of
    this machine."""
    local, name = opened.store.files.local, opened.sweep.name
    if local:
        return local / "spool" / name
    return cache_dir() / "spool" / f"{name}-{text_digest(opened.store.uri)[:12]}"
