"""MLflow gets every unit exactly once, whatever happens on the way."""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable

import pytest

from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import FinetuneConfig, PretrainEvalConfig
from tamt_ray.store.record import Failure
from tamt_ray.tracking import tracker as tracker_module
from tamt_ray.tracking.summary import Summary
from tamt_ray.tracking.sync import sync

from .tracker_cases import Case, client, content, named, runs, scores, until


def test_sync_brings_all_and_changes_nothing_the_second_time(
    case: Case, undisturbed: dict[str, object]
) -> None:
    first = sync(case.sweep, case.plan, case.store, case.records)
    assert (first.written, first.present, first.refused) == (len(undisturbed), 0, {})
    assert content(case.sweep) == undisturbed
    second = sync(case.sweep, case.plan, case.store, case.records)
    assert (second.written, second.present) == (0, len(undisturbed))
    assert content(case.sweep) == undisturbed


def test_a_unit_computed_anew_takes_the_place_of_the_old_one(case: Case) -> None:
    """Its data changed, or its record was damaged: a fine-tune's run goes, a subnetwork's keeps its
    children and shows the later value."""
    sync(case.sweep, case.plan, case.store, case.records)
    before = {run.data.tags["tamt.unit"]: run.info.run_id for run in runs(case.sweep)}
    tuned = case.unit(kind="finetune", method="imp", seed=1)
    assert isinstance(tuned.config, FinetuneConfig)
    mask = str(tuned.config.mask)
    evaluated = next(
        unit for unit in case.plan.units.values()
        if isinstance(unit.config, PretrainEvalConfig) and unit.config.mask == mask
    )  # fmt: skip
    anew = dict(case.records)
    lower = scores(tuned, pearson=0.5, spearman=0.5)
    for unit, metrics in ((tuned, lower), (evaluated, {"mlm_loss": 2.0, "kd_loss": 0.25})):
        old = case.records[unit.id]
        changed = old.model_copy(update={"started": old.started + 9000, "metrics": metrics})
        files = {name: case.store.artifact(old, name) for name in old.artifacts}
        anew[unit.id] = case.store.commit(changed, files)
    report = sync(case.sweep, case.plan, case.store, anew)
    assert (report.written, report.refused) == (2, {}), "the score of the first is its parent's"
    after = {run.data.tags["tamt.unit"]: run for run in runs(case.sweep)}
    assert after.keys() == before.keys()
    moved = {key for key, run in after.items() if run.info.run_id != before[key]}
    assert moved == {tuned.id}
    assert after[tuned.id].data.metrics["best"] == 0.5
    assert after[mask].data.metrics["pretrain/mlm_loss"] == 2.0
    assert after[mask].data.metrics["score/stsb"] == 0.625
    assert after[tuned.id].data.tags["mlflow.parentRunId"] == before[mask]
    assert sync(case.sweep, case.plan, case.store, anew).written == 0


def test_another_headline_metric_is_shown_for_the_same_fine_tunes(case: Case) -> None:
    """Nothing is computed anew, and each fine-tune still has one run."""
    tuned = {
        unit.id: case.records[unit.id]
        for unit in case.plan.units.values()
        if unit.kind == "finetune" and unit.cell.method == "full"
    }
    sync(case.sweep, case.plan, case.store, tuned)
    stsb = case.sweep.tasks["stsb"].model_copy(update={"metric": "spearman"})
    other = case.sweep.model_copy(update={"tasks": {"stsb": stsb}})
    plan = expand(other)
    assert plan.units.keys() == case.plan.units.keys()
    assert sync(other, plan, case.store, tuned).written == len(tuned) + 1 == 3
    found = {run.data.tags["tamt.unit"]: run.data.metrics for run in runs(other)}
    assert {found[unit]["best"] for unit in tuned} == {0.5}
    assert {found[unit]["pearson"] for unit in tuned} == {0.75}
    (dense,) = (metrics for unit, metrics in found.items() if unit not in tuned)
    assert dense["score/stsb"] == 0.5
    assert sync(other, plan, case.store, tuned).written == 0


def test_sync_brings_the_report_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    uploads: list[object] = []
    log_artifacts = MlflowClient.log_artifacts

    def log(mlflow: MlflowClient, *where: object) -> None:
        uploads.append(where)
        log_artifacts(mlflow, *where)

    monkeypatch.setattr(MlflowClient, "log_artifacts", log)
    for _ in range(2):
        last = Summary("", {"done": 9.0}, 9, 1.7e9, {"report.html": b"<p>"}, over=True)
        sync(case.sweep, case.plan, case.store, case.records, last)
    assert len(uploads) == 1
    assert named(case, "summary of demo").data.metrics == {"done": 9.0}


def test_of_two_empty_runs_the_one_with_children_stays(case: Case) -> None:
    """Its twin was made by a server after the request had been given up."""
    tuned = case.unit(kind="finetune", method="full", seed=1)
    one = {tuned.id: case.records[tuned.id]}
    sync(case.sweep, case.plan, case.store, one)
    above = named(case, "full (bert)")
    mlflow = client(case.sweep.mlflow)
    for _ in range(6):
        # Run ids are random: some come before and some behind the parent's.
        twin = mlflow.create_run(above.info.experiment_id, tags={"tamt.unit": above.data.tags[
            "tamt.unit"]}, run_name=above.info.run_name)  # fmt: skip
        sync(case.sweep, case.plan, case.store, one)
        left = [run.info.run_id for run in runs(case.sweep) if run.info.run_id in
                {above.info.run_id, twin.info.run_id}]  # fmt: skip
        assert left == [above.info.run_id]


@pytest.mark.parametrize("seed", [1, 2])
def test_requests_that_fail_before_or_after_their_effect(
    case: Case, undisturbed: dict[str, object], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third request fails, half of these only after the server did what it was asked."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    dice, failures = random.Random(seed), Counter[str]()

    def shaky(method: Callable[..., object], name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            fate = dice.random()
            if fate < 1 / 6:
                failures[name] += 1
                raise MlflowException("connection refused")
            result = method(*args, **kwargs)
            if fate > 5 / 6:
                failures[name] += 1
                raise MlflowException("the answer was lost")
            return result

        return call

    with monkeypatch.context() as patch:
        names = ("create_run", "log_batch", "log_inputs", "set_terminated")
        for name in (*names, "search_runs", "create_experiment"):
            patch.setattr(MlflowClient, name, shaky(getattr(MlflowClient, name), name))
        patch.setattr(tracker_module, "_FIRST_PAUSE", 0.0)
        tracker = case.tracker()
        tracker.start(case.records)
        assert tracker.close(120) == 0
    assert all(failures[name] for name in names)
    assert content(case.sweep) == undisturbed


@pytest.mark.usefixtures("impatient")
def test_a_run_made_after_its_request_was_given_up(
    case: Case, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    create, late = MlflowClient.create_run, []

    def slow(*args: object, **kwargs: object) -> object:
        if len(late) < 3:
            late.append((args, kwargs))
            raise MlflowException("timed out")
        return create(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", slow)
    tracker = case.tracker()
    tracker.start(case.records)
    until(lambda: len(runs(case.sweep)) == len(undisturbed))
    for args, kwargs in late:
        create(*args, **kwargs)
    assert tracker.close(60) == 0
    assert content(case.sweep) == undisturbed


def test_what_one_process_left_the_next_one_delivers(
    case: Case, undisturbed: dict[str, object]
) -> None:
    """What was told to the first is in the store; nothing else is kept for the second."""
    never_started = case.tracker()
    never_started.landed(*case.records.values())
    assert never_started.close(0) == len(undisturbed)
    following = case.tracker()
    following.start(case.records)
    assert following.close(60) == 0
    assert content(case.sweep) == undisturbed


def test_runs_of_an_older_version_are_replaced(case: Case, undisturbed: dict[str, object]) -> None:
    sync(case.sweep, case.plan, case.store, case.records)
    mlflow = client(case.sweep.mlflow)
    for run in runs(case.sweep):
        mlflow.delete_tag(run.info.run_id, "tamt.state")
        mlflow.log_metric(run.info.run_id, "zeros", 7.0)
    assert sync(case.sweep, case.plan, case.store, case.records).written == len(undisturbed)
    assert content(case.sweep) == undisturbed


def test_a_subnetwork_of_an_earlier_sweep_comes_along(case: Case) -> None:
    """Of its results only a fine-tune is new; its run is there before the child's."""
    unit = case.unit(kind="finetune", method="tamt_kd", seed=2)
    known = {i: each for i, each in case.records.items() if each.kind == "search"}
    tracker = case.tracker()
    tracker.start(known | {unit.id: case.records[unit.id]})
    assert tracker.close(60) == 0
    parent = named(case, "tamt_kd 0.3 mask 1 (bert)")
    child = named(case, "stsb seed 2, tamt_kd 0.3 mask 1 (bert)")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["zeros"] == 40


def test_metrics_that_a_server_lost_are_sent_again(case: Case) -> None:
    """The tag that says a unit is in outlived them; its run stays, with all that hangs on it."""
    sync(case.sweep, case.plan, case.store, case.records)
    whole = content(case.sweep)
    tuned = case.unit(kind="finetune", seed=1)
    (run,) = [run for run in runs(case.sweep) if run.data.tags["tamt.unit"] == tuned.id]
    database = sqlite3.connect(case.sweep.mlflow.removeprefix("sqlite:///"))
    with database:
        for table in ("metrics", "latest_metrics"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", [run.info.run_id])
    database.close()
    report = sync(case.sweep, case.plan, case.store, case.records)
    assert (report.written, report.present) == (1, len(whole) - 1)
    assert content(case.sweep) == whole
    (again,) = [run for run in runs(case.sweep) if run.data.tags["tamt.unit"] == tuned.id]
    assert again.info.run_id == run.info.run_id


def test_a_traceback_cannot_leave_its_block(case: Case) -> None:
    tuned = case.unit(kind="finetune", seed=1)
    hostile = "```\n<img src=x>\n````\n# a heading"
    failure = Failure(
        id=tuned.id, kind=tuned.kind, cell=tuned.cell, error="Error", message="x",
        traceback=hostile, attempts=1, at=1.7e9,
    )  # fmt: skip
    tracker = case.tracker()
    tracker.start(failures={tuned.id: failure})
    assert tracker.close(60) == 0
    (note,) = [
        run.data.tags["mlflow.note.content"]
        for run in runs(case.sweep)
        if run.data.tags["tamt.unit"] == tuned.id
    ]
    opening, *lines, closing = note.split("\n\n", 1)[1].split("\n")
    assert opening == closing == "`````"
    assert "\n".join(lines) == hostile
