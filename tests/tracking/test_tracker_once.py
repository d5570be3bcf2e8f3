"""MLflow gets every unit exactly once, whatever happens on the way."""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable

import pytest

from tamt_ray.plan.config import FinetuneConfig, PretrainEvalConfig
from tamt_ray.plan.expand import expand
from tamt_ray.tracking.spool import UnitFailed
from tamt_ray.tracking.tracker import Tracker, TrackingError, load_writer, sync

from .tracker_cases import Case, client, content, named, runs, scores


def test_sync_brings_all_and_changes_nothing_the_second_time(
    case: Case, undisturbed: dict[str, object]
) -> None:
    first = sync(case.sweep, case.plan, case.store, case.records)
    assert (first.written, first.present, first.refused) == (len(case.plan.units), 0, {})
    assert content(case.sweep) == undisturbed
    second = sync(case.sweep, case.plan, case.store, case.records)
    assert (second.written, second.present) == (0, len(case.plan.units))
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
    assert (report.written, report.refused) == (2, {})
    after = {run.data.tags["tamt.unit"]: run for run in runs(case.sweep)}
    assert after.keys() == before.keys()
    moved = {key for key, run in after.items() if run.info.run_id != before[key]}
    assert moved == {tuned.id}
    assert after[tuned.id].data.metrics["best"] == 0.5
    assert after[mask].data.metrics["pretrain/mlm_loss"] == 2.0
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
    assert sync(other, plan, case.store, tuned).written == len(tuned) == 2
    found = {run.data.tags["tamt.unit"]: run.data.metrics for run in runs(other)}
    assert {found[unit]["best"] for unit in tuned} == {0.5}
    assert {found[unit]["pearson"] for unit in tuned} == {0.75}
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
        sync(case.sweep, case.plan, case.store, case.records, {"report.html": b"<p>"})
    assert len(uploads) == 1
    run = named(case, "summary of demo")
    assert run.data.metrics == {"done": len(case.records), "failed": 0}


def test_of_two_empty_runs_the_one_with_children_stays(case: Case) -> None:
    """Its twin was made by a server after the request had been given up."""
    tuned = [case.unit(kind="finetune", method="full", seed=seed) for seed in (1, 2)]
    writer = load_writer(case.sweep, case.plan, case.store)
    writer.landed(case.records[tuned[0].id])
    above = named(case, "full (bert)")
    mlflow, made = client(case.sweep.mlflow), []
    for _ in range(6):
        # Run ids are random: some come before and some behind the parent's.
        twin = mlflow.create_run(above.info.experiment_id, tags={"tamt.unit": above.data.tags[
            "tamt.unit"]}, run_name=above.info.run_name)  # fmt: skip
        made.append(twin.info.run_id)
        again = load_writer(case.sweep, case.plan, case.store)
        again.landed(case.records[tuned[0].id])
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
        writer = load_writer(case.sweep, case.plan, case.store)
        for record in case.records.values():
            for _ in range(2000):
                try:
                    writer.landed(record)
                    break
                except TrackingError:
                    continue
    assert all(failures[name] for name in names)
    assert content(case.sweep) == undisturbed


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

    writer = load_writer(case.sweep, case.plan, case.store)
    monkeypatch.setattr(MlflowClient, "create_run", slow)
    for record in case.records.values():
        while True:
            try:
                writer.landed(record)
                break
            except TrackingError:
                continue
    for args, kwargs in late:
        create(*args, **kwargs)
    writer.settle()
    assert content(case.sweep) == undisturbed


def test_what_one_process_left_the_next_one_delivers(
    case: Case, undisturbed: dict[str, object]
) -> None:
    never_started = case.tracker()
    for record in case.records.values():
        never_started.landed(record)
    assert never_started.close(0) == len(case.plan.units)
    file = case.spool / "events.jsonl"
    file.write_bytes(file.read_bytes() + b'\n{"number": 99, "is": "landed", "unit": "0123')
    following = case.tracker()
    following.start()
    assert following.close(60) == 0
    assert content(case.sweep) == undisturbed


def test_units_that_the_sweep_no_longer_has_are_dropped(case: Case) -> None:
    first = case.tracker()
    for record in case.records.values():
        first.landed(record)
    first.close(0)
    smaller = case.sweep.model_copy(update={"methods": case.sweep.methods[:1]})
    second = Tracker(smaller, expand(smaller), case.store, case.spool)
    assert second.close(0) == len(expand(smaller).units)


def test_a_subnetwork_of_an_earlier_sweep_comes_along(case: Case) -> None:
    """Only its fine-tune ran now, so only that is told."""
    tracker = case.tracker()
    tracker.start()
    tracker.landed(case.records[case.unit(kind="finetune", method="tamt_kd", seed=2).id])
    assert tracker.close(60) == 0
    parent = named(case, "tamt_kd 0.3 mask-seed 1 (bert)")
    assert named(case, "stsb seed 2").data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["zeros"] == 40
    assert "tamt.complete" not in parent.data.tags, "its evaluation is not in"


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
    assert (report.written, report.present) == (1, len(case.plan.units) - 1)
    assert content(case.sweep) == whole
    (again,) = [run for run in runs(case.sweep) if run.data.tags["tamt.unit"] == tuned.id]
    assert again.info.run_id == run.info.run_id


def test_a_traceback_cannot_leave_its_block(case: Case) -> None:
    tuned = case.unit(kind="finetune", seed=1)
    hostile = "```\n<img src=x>\n````\n# a heading"
    writer = load_writer(case.sweep, case.plan, case.store)
    writer.failed(UnitFailed(tuned.id, tuned.kind, "Error: x", hostile, 1, 1.7e9))
    (note,) = [
        run.data.tags["mlflow.note.content"]
        for run in runs(case.sweep)
        if run.data.tags["tamt.unit"] == tuned.id
    ]
    opening, *lines, closing = note.split("\n\n", 1)[1].split("\n")
    assert opening == closing == "`````"
    assert "\n".join(lines) == hostile
