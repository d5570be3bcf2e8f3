"""A sweep with `tune:` as the user sees it."""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tamt_ray.analysis.tuning import best_frame, snippet, trials_frame
from tamt_ray.cli.opened import Say, SweepContext
from tamt_ray.cli.tables import frame_table
from tamt_ray.plan.cost import gpu_seconds
from tamt_ray.plan.tuning import Outcome, Study, Trial, folder_of, steps_at_most, studies
from tamt_ray.plan.unit import Unit
from tamt_ray.store.lease import Lease
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import HeldError, LeaseLostError
from tamt_ray.tracking.place import LAST_WORDS, SHORT_WORDS, ui_command
from tamt_ray.tracking.tuning_tracker import TuningTracker

if TYPE_CHECKING:
    from tamt_ray.cli.carry_out import Request
    from tamt_ray.execution.tuning.search import Heard


def print_tuning(opened: SweepContext, as_json: bool, out: Console) -> None:
    """Say what would be tried, and what it costs if nothing is stopped early."""
    done = {outcome.study.path: len(outcome.trials) for outcome in _outcomes(opened)}
    found = studies(opened.sweep)
    if as_json:
        body = {
            "studies": {
                study.path: {
                    "trials": study.tuning.trials, "done": done[study.path],
                    "to_run": _left(study, done), "steps_at_most": steps_at_most(study),
                }
                for study in found
            },
            "steps_at_most": sum(map(steps_at_most, found)),
        }  # fmt: skip
        sys.stdout.write(json.dumps(body) + "\n")
        return
    table = Table("study", box=None, pad_edge=False)
    for column in ("trials", "done", "to run", "steps at most", "objective"):
        table.add_column(column, justify="right")
    for study in found:
        table.add_row(
            study.path, str(study.tuning.trials), str(done[study.path]), str(_left(study, done)),
            f"{steps_at_most(study):,}", " + ".join(study.losses),
        )  # fmt: skip
    out.print(table)
    hours = sum(_left(study, done) * _seconds(study) for study in found) / 3600
    out.print(
        f"{sum(_left(study, done) for study in found)} trials to run, of "
        f"{found[0].tuning.rungs[-1]:,} steps at most each; at most about {hours:,.1f} GPU-hours "
        "(a rough estimate)"
    )
    out.print(f"run it: python -m tamt_ray.sweep {opened.words}")


def carry_out_tuning(opened: SweepContext, request: "Request", talk: Console, out: Console) -> int:
    """Run the missing trials, say what was found; returns the exit code."""
    if opened.of:
        talk.print("a tuning has no units to choose from; leave --only out", style="red")
        return 2
    found = studies(opened.sweep)
    before = _outcomes(opened)
    done = {outcome.study.path: len(outcome.trials) for outcome in before}
    again = opened.retry_failed and any(map(_failed, before))
    left = sum(_left(study, done) for study in found)
    talk.print(
        f"{opened.sweep.name}: {len(found)} studies of {found[0].tuning.trials} trials, "
        f"{sum(done.values())} done, {left} to run"
    )
    if left or again:
        try:
            watching = _say(talk)
            with Lease.acquire(opened.store.files, opened.sweep.name, watching=watching) as lease:
                code = _execute(opened, lease, request, talk)
        except HeldError as error:
            talk.print(f"{opened.file}: {error}", style="red", markup=False, soft_wrap=True)
            return 3
        if code:
            return code
    return _show(opened, request.as_json, talk, out)


def write_tuning(opened: SweepContext) -> str:
    """Write every trial and the best values beside the results; returns where they are."""
    outcomes = _outcomes(opened)
    folder = f"reports/{opened.sweep.name}"
    opened.store.write(f"{folder}/trials.csv", trials_frame(outcomes).write_csv().encode())
    opened.store.write(f"{folder}/best.yaml", snippet(outcomes).encode())
    return f"{opened.store.uri}/{folder}/best.yaml"


def sync_tuning(opened: SweepContext) -> str:
    """Write every trial to MLflow that it has not got. Raises TrackingError."""
    from tamt_ray.tracking.tracker import prepare_mlflow

    prepare_mlflow()
    from tamt_ray.tracking.tuning import StudyWriter

    outcomes = _outcomes(opened)
    written = StudyWriter(opened.sweep).write(outcomes)
    present = sum(len(outcome.trials) for outcome in outcomes) - written
    return f"{written} trials written to MLflow, {present} were there"


def _execute(opened: SweepContext, lease: Lease, request: "Request", talk: Console) -> int:
    from tamt_ray.execution.cluster.loopback import listen_on_loopback

    if request.address is None:
        listen_on_loopback()
    from tamt_ray.execution.cluster.connection import ClusterError
    from tamt_ray.execution.interruption import BrokenOffError
    from tamt_ray.execution.preflight import PreflightError, check
    from tamt_ray.execution.scheduler.placement import InfeasibleError
    from tamt_ray.execution.tuning.outcomes import outcomes
    from tamt_ray.execution.tuning.studies import TuneCall, run_tuning
    from tamt_ray.execution.tuning.trials import open_storage

    sweep, store = opened.sweep, Store(opened.sweep.store, lease.fence)
    try:
        check(sweep.model_copy(update={"tasks": {}}))
    except PreflightError as error:
        talk.print(f"{opened.file}: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    storage = open_storage(store, sweep.name)
    tracker = TuningTracker(sweep, lambda: outcomes(sweep, store, storage))
    tracker.start()

    def watch(study: Study, heard: "Heard") -> None:
        talk.print(_news(study, heard), markup=False, highlight=False, soft_wrap=True)
        if heard.ended:
            tracker.tell()

    call = TuneCall(request.address, request.fail_fast, opened.retry_failed)
    try:
        run_tuning(sweep, store, storage, call, watch, lease.raise_if_lost)
    except (ClusterError, InfeasibleError) as error:
        talk.print(str(error), style="red", markup=False, soft_wrap=True)
        return 3
    except BrokenOffError:
        tracker.close(SHORT_WORDS)
        raise
    except LeaseLostError as error:
        raise BrokenOffError(3, str(error)) from error
    if late := tracker.close(LAST_WORDS):
        talk.print(
            f"MLflow has not got everything ({late}); nothing is lost: "
            f"`tamt sync-mlflow {opened.words}` sends it",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
    return 0


def _show(opened: SweepContext, as_json: bool, talk: Console, out: Console) -> int:
    outcomes = _outcomes(opened)
    where = write_tuning(opened)
    if as_json:
        sys.stdout.write(json.dumps({o.study.path: _found(o) for o in outcomes}) + "\n")
    else:
        out.print(frame_table(best_frame(outcomes)))
        out.print()
        out.print(snippet(outcomes), end="")
    failed = [(o.study, trial) for o in outcomes for trial in _failed(o)]
    for study, trial in failed:
        talk.print(
            f"{study.path} trial {trial.number}: {trial.error}",
            style="red", markup=False, soft_wrap=True,
        )  # fmt: skip
    if failed:
        talk.print(
            f"try them again: python -m tamt_ray.sweep {opened.words} --retry-failed",
            soft_wrap=True,
        )
    talk.print(f"to paste: {where}", soft_wrap=True)
    talk.print(f"runs:     {ui_command(opened.sweep)}", soft_wrap=True)
    left = any(len(o.trials) < o.study.tuning.trials for o in outcomes)
    return 1 if failed or left else 0


def _found(outcome: Outcome) -> dict[str, object]:
    best, own = outcome.best(), outcome.own()
    return {
        "trials": len(outcome.trials),
        "objective": list(outcome.study.losses),
        "best": outcome.objective(best) if best else None,
        "values": dict(best.values) if best else None,
        "own": outcome.objective(own) if own else None,
        "omp": outcome.study.objective(outcome.omp) if outcome.omp else None,
    }


def _outcomes(opened: SweepContext) -> tuple[Outcome, ...]:
    """What the studies hold; Optuna is imported only where there is something."""
    if not opened.store.files.sizes(folder_of(opened.sweep.name)):
        return tuple(Outcome(study, (), {}) for study in studies(opened.sweep))
    from tamt_ray.execution.tuning.outcomes import read_outcomes

    return read_outcomes(opened.sweep, opened.store)


def _left(study: Study, done: Mapping[str, int]) -> int:
    return max(0, study.tuning.trials - done[study.path])


def _seconds(study: Study) -> float:
    """GPU-seconds of one trial that goes to the end."""
    searches = study.searches(study.own_values, study.tuning.rungs[-1])
    return sum(gpu_seconds(Unit(config)) for config in searches)


def _failed(outcome: Outcome) -> list[Trial]:
    return [trial for trial in outcome.trials if trial.state == "failed"]


def _say(talk: Console) -> Say:
    return lambda words: talk.print(words, style="yellow", markup=False, soft_wrap=True)


def _news(study: Study, heard: "Heard") -> str:
    words = f"{study.path} trial {heard.number}: "
    if heard.rung:
        words += f"{study.objective(heard.rung.losses):.4f} after {heard.rung.steps} steps"
        return words + (f", {heard.ended}" if heard.ended else "")
    return f"{words}{heard.ended}: {heard.error}"
