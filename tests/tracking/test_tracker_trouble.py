"""Trouble with one unit, the database or MLflow itself is told, and stops nothing else."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tamt_ray.tracking.sync import sync

from .tracker_cases import Case, client, content, named, until


def test_one_unit_that_cannot_be_written_does_not_stop_the_others(case: Case) -> None:
    bad, good = (case.unit(kind="finetune", method="full", seed=seed) for seed in (1, 2))
    (path,) = (Path(case.store.uri) / "units" / "finetune" / bad.id).glob("history.*.parquet")
    path.write_bytes(b"not what the record vouches for")
    tracker = case.tracker()
    tracker.start()
    tracker.landed(case.records[bad.id])
    tracker.landed(case.records[good.id])
    assert tracker.close(60) == 1
    assert path.name in str(tracker.problem)
    assert named(case, "stsb seed 2, full (bert)").info.status == "FINISHED"
    report = sync(case.sweep, case.plan, case.store, case.records)
    assert list(report.refused) == [bad.id]
    assert bad.id[:12] in str(report)


@pytest.mark.usefixtures("impatient")
def test_a_database_locked_longer_than_its_timeout(
    case: Case, undisturbed: dict[str, object]
) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def short(_c: object, _k: object, sql: str, values: object, *_: object) -> tuple[str, object]:
        return sql.replace("busy_timeout = 20000", "busy_timeout = 100"), values

    event.listen(Engine, "before_cursor_execute", short, retval=True)
    other = sqlite3.connect(case.sweep.mlflow.removeprefix("sqlite:///"))
    tracker = case.tracker()
    try:
        other.execute("BEGIN IMMEDIATE")
        tracker.start()
        before = time.monotonic()
        for record in case.records.values():
            tracker.landed(record)
        assert time.monotonic() - before < 2, "the driver does not wait"
        until(lambda: tracker.problem)
        assert "database is locked" in str(tracker.problem)
        other.rollback()
        assert tracker.close(60) == 0
    finally:
        other.close()
        event.remove(Engine, "before_cursor_execute", short)
    assert tracker.problem is None
    assert content(case.sweep) == undisturbed


@pytest.mark.usefixtures("impatient")
def test_a_deleted_experiment_is_told(case: Case) -> None:
    mlflow = client(case.sweep.mlflow)
    mlflow.delete_experiment(mlflow.create_experiment("demo"))
    tracker = case.tracker()
    tracker.start()
    tracker.landed(next(iter(case.records.values())))
    until(lambda: tracker.problem)
    assert "experiment 'demo' is deleted" in str(tracker.problem)
    assert tracker.close(0.1) == 1


def test_without_mlflow_the_user_is_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tamt_ray.tracking.writer", None)
    tracker = case.tracker()
    tracker.start()
    tracker.landed(next(iter(case.records.values())))
    assert tracker.close(10) == 1
    assert "mlflow cannot be imported" in str(tracker.problem)


def test_importing_the_tracker_imports_no_mlflow() -> None:
    code = (
        "import sys, tamt_ray.tracking.tracker; assert not {'mlflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
