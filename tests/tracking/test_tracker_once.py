"""MLflow gets every unit exactly once, whatever happens on the way."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from tamt_ray.plan.expand import expand
from tamt_ray.tracking.tracker import Tracker, TrackingError, load_writer, sync

from .tracker_cases import Case, content, named


def test_sync_brings_all_and_changes_nothing_the_second_time(
    case: Case, undisturbed: dict[str, object]
) -> None:
    first = sync(case.sweep, case.plan, case.store, case.records)
    assert (first.written, first.present, first.refused) == (len(case.plan.units), 0, {})
    assert content(case.sweep) == undisturbed
    second = sync(case.sweep, case.plan, case.store, case.records)
    assert (second.written, second.present) == (0, len(case.plan.units))
    assert content(case.sweep) == undisturbed


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
    assert parent.data.metrics["best"] == 0.75
    assert "tamt.complete" not in parent.data.tags, "its evaluation is not in"
