"""Carrying out a sweep as the user sees it."""

import json
import sys
from dataclasses import replace

from tamt_ray.analysis.stats.summary import snapshot
from tamt_ray.analysis.tuning import best_frame, snippet
from tamt_ray.cli.live_view import print_scores
from tamt_ray.cli.report_mark import is_current, report_folder
from tamt_ray.cli.speech import fail, out, print_error, talk, warn
from tamt_ray.cli.sweep_context import SweepContext, held, put_aside
from tamt_ray.cli.tables import failure_lines, frame_table
from tamt_ray.cli.tune import found_by
from tamt_ray.execution.cluster.address import listen_on_loopback, unwritable
from tamt_ray.plan.cost import usual_prices
from tamt_ray.store.damage import outdated
from tamt_ray.store.lease import Lease
from tamt_ray.store.space import bytes_free, bytes_needed
from tamt_ray.store.states import States
from tamt_ray.store.trouble import HeldError, LeaseLostError, StoreError
from tamt_ray.tracking.place import LAST_WORDS, SHORT_WORDS, ui_lines
from tamt_ray.tracking.tracker import Tracker


def carry_out(opened: SweepContext, address: str | None, *, fail_fast: bool, as_json: bool) -> int:
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
        return _nothing_to_do(opened, as_json)
    try:
        with held(opened, warn) as (mine, lease):
            if not mine.missing + mine.to_draw:
                return _nothing_to_do(mine, as_json)
            return _execute(mine, lease, address, fail_fast, as_json)
    except HeldError as error:
        fail(3, f"{opened.file}: {error}")


def _nothing_to_do(opened: SweepContext, as_json: bool) -> int:
    # Another sweep may have computed the rest, or the last run ended before its report.
    if not is_current(opened):
        # Figures and masks bring in heavy libraries, and a finished sweep has its report.
        from tamt_ray.cli.results import mark_report, write_report
        from tamt_ray.cli.rows import keep_settled

        keep_settled(opened)
        write_report(opened)
        mark_report(opened)
        warn(
            "this call computed nothing and sent MLflow nothing: "
            f"`tamt sync-mlflow {opened.words}` sends what it lacks"
        )
    _show(opened, as_json)
    return 1 if opened.failures else 0


def _execute(
    opened: SweepContext, lease: Lease, address: str | None, fail_fast: bool, as_json: bool
) -> int:
    if address is None:
        listen_on_loopback()
        if problem := unwritable():
            fail(2, f"{opened.file}: {problem}")
    from tamt_ray.cli.progress import Progress

    sweep, plan, store = opened.grid, opened.plan, opened.store
    progress = Progress(plan, talk)
    with progress:
        # Their imports take seconds.
        progress.stage("loading PyTorch and Ray")
        from tamt_ray.cli.results import mark_report, report_files, write_report
        from tamt_ray.cli.rows import keep_settled, refuse
        from tamt_ray.cli.summary import describer, final_summary
        from tamt_ray.execution.activity import LiveStatus
        from tamt_ray.execution.cluster.connection import ClusterError
        from tamt_ray.execution.driver import Call, run
        from tamt_ray.execution.interruption import BrokenOffError
        from tamt_ray.execution.preflight import changes, check
        from tamt_ray.execution.proposer import Proposer
        from tamt_ray.execution.rows import PreflightError
        from tamt_ray.execution.run_loop import Ledger
        from tamt_ray.execution.scheduler.messages import Event
        from tamt_ray.execution.scheduler.placement import InfeasibleError
    try:
        with progress:
            progress.stage("reading models, corpus and tasks, and fetching what is missing")
            found = check(sweep, plan.files, plan.texts)
            changed = changes(plan.units, opened.records, found.fingerprints)
    except PreflightError as error:
        refuse(opened, error)
    if changed:
        fail(
            2,
            "\n".join(f"{opened.file}: {change}" for change in changed)
            + "\nput the former content back, give the new one a name of its own, or have all "
            f"computed anew in a store of its own: set `store:` in {opened.file} to another place",
        )
    keep_settled(opened)
    _warn_of_little_space(opened)
    # Measures this machine's CPU, so before the tracker's thread imports MLflow.
    known = opened.prices(usual_prices(sweep.execution, sizes=found.sizes))
    ledger = Ledger(opened.records, opened.failures)
    everything = opened.whole
    # The rest of the sweep and what other sweeps computed belong into the experiment too.
    tracker = Tracker(sweep, everything.plan, store, describer(everything.plan))
    tracker.start(everything.records, everything.failures | opened.failures)
    progress.tracker = tracker
    try:
        with progress:
            call = Call(
                address, fail_fast, known if known.measured else None,
                opened.whole.plan if opened.of else None, found.sizes,
            )  # fmt: skip

            def watch(event: Event | LiveStatus) -> None:
                lease.raise_if_lost()
                progress.watch(event)

            progress.stage(f"joining the Ray at {address}" if address else "starting Ray")
            proposer = Proposer(opened.sweep, store, opened.diverged) if opened.survey else None
            run(sweep, plan, store, ledger, tracker, call, watch, proposer)
    except (ClusterError, InfeasibleError) as error:
        fail(3, str(error))
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
        put_aside(opened, stale, warn)
    with progress.closing():
        progress.stage("writing the report")
        files = report_files(opened)
        write_report(opened, files)
        tracker.report(final_summary(opened, files))
        progress.stage("sending the last results to MLflow")
        unreached = tracker.problem and not tracker.link
        late = tracker.close(SHORT_WORDS if unreached else LAST_WORDS)
    if tracker.link:
        store.write(_link_file(opened), tracker.link.encode())
    mark_report(opened)
    _show(opened, as_json)
    if late:
        warn(
            f"MLflow lacks up to {late} runs ({tracker.problem}); nothing is lost: "
            f"`tamt sync-mlflow {opened.words}` sends them"
        )
    return 1 if opened.to_draw or len(ledger.records) < len(plan.units) else 0


def _warn_of_little_space(opened: SweepContext) -> None:
    """Warn only: an estimate aborts no run, and a disk that runs full ends it in good order."""
    local = opened.store.files.local
    if local is None:
        return
    to_run = [opened.plan.units[unit_id] for unit_id in opened.to_run]
    keep = opened.sweep.execution.search.keep_states
    needed, free = bytes_needed(to_run, keep_states=keep), bytes_free(local)
    if needed > free:
        warn(
            f"{local} has {free / 1e9:.1f} GB free and this run may write about "
            f"{needed / 1e9:.0f} GB; free some space, set `store:` to another disk"
            + (" or `execution.search.keep_states: false`" if keep else "")
        )


def _show(opened: SweepContext, as_json: bool) -> None:
    report = opened.store.files.address(f"reports/{opened.sweep.name}/report.html")
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
        out.print(f"\n{snippet(opened.survey.outcomes)}", end="", highlight=False)
    else:
        print_scores(tables, out)
    for line in failure_lines(opened.failures):
        print_error(line)
    if opened.failures:
        again = f"python -m tamt_ray.sweep {opened.words} --retry-failed"
        talk.print(f"try them again: {again}", soft_wrap=True)
    try:
        link = opened.store.files.read(_link_file(opened)).decode(errors="replace")
    except FileNotFoundError:
        # MLflow was not reached yet.
        link = ""
    talk.print(f"store:  {opened.store.uri}", soft_wrap=True, highlight=False)
    talk.print(f"report: {report}", soft_wrap=True, highlight=False)
    talk.print(ui_lines(opened.sweep, link), soft_wrap=True, highlight=False)


def _link_file(opened: SweepContext) -> str:
    """Return the file that keeps the page of the runs, whose number only MLflow knows."""
    return f"{report_folder(opened)}/mlflow.txt"
