"""Studies and trials in a real MLflow."""

import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tamt_ray.plan.tuning import Outcome, Rung, Trial, studies
from tamt_ray.spec.sweep import Sweep
from tamt_ray.tracking.trouble import TrackingError
from tamt_ray.tracking.tuning import StudyWriter
from tamt_ray.tracking.tuning_tracker import TuningTracker


def sweep(uri: str) -> Sweep:
    text = {"source": "dir:a.txt"}
    return Sweep.model_validate(
        {
            "name": "small",
            "mlflow": uri,
            "models": {"mini": {"source": "dir:m"}},
            "corpus": {"train": text, "validation": text},
            "methods": [{"method": "tamt_mlm", "steps": 5, "lr": 1e-3}],
            "sparsities": [0.5],
            "tune": {
                "sparsity": 0.5, "trials": 3, "rungs": [2, 6],
                "methods": {"tamt_mlm": {"lr": {"log": [1e-5, 1e-2]}}},
            },
        }
    )  # fmt: skip


def outcome(one: Sweep, count: int) -> Outcome:
    trials = (
        Trial(0, "finished", {"lr": 1e-3},
              (Rung(2, {"mlm_loss": 7.0, "kd_loss": 0.2}, 11.0),
               Rung(6, {"mlm_loss": 6.0, "kd_loss": 0.3}, 12.0)), 10.0, 13.0),
        Trial(1, "stopped", {"lr": 2e-3}, (Rung(2, {"mlm_loss": 5.0, "kd_loss": 0.2}, 15.0),),
              14.0, 16.0),
        Trial(3, "diverged", {"lr": 9e-3}, (), 17.0, 18.0, "the loss is nan at step 1"),
    )  # fmt: skip
    (study,) = studies(one)
    return Outcome(study, trials[:count], {"mlm_loss": 8.0, "kd_loss": 0.1})


def runs(uri: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("small")
    assert experiment
    found = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {str(run.info.run_name): run for run in found}


def test_a_run_a_study_and_a_child_a_trial_however_often_it_is_told(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    one = sweep(uri)
    assert StudyWriter(one).write([outcome(one, 2)]) == 2
    writer = StudyWriter(one)
    assert writer.write([outcome(one, 3)]) == 1
    assert writer.write([outcome(one, 3)]) == 0

    found = runs(uri)
    study = found.pop("study of tamt_mlm (mini)")
    assert study.data.metrics == {"objective": 6.0, "omp_objective": 8.0}
    assert study.data.tags["tamt.best"] == '{"lr":0.001}'
    assert study.data.params["span.lr"] == '{"log":[1e-05,0.01]}'
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {study.info.run_id}
    assert {name: run.info.status for name, run in found.items()} == {
        "trial 0 of tamt_mlm (mini)": "FINISHED",
        "trial 1 of tamt_mlm (mini)": "FINISHED",
        "trial 3 of tamt_mlm (mini)": "FAILED",
    }
    first = found["trial 0 of tamt_mlm (mini)"]
    assert first.data.params == {"lr": "0.001"}
    assert first.data.metrics["objective"] == 6.0
    curve = MlflowClient(uri).get_metric_history(first.info.run_id, "tune/mlm_loss")
    assert [(point.step, point.value) for point in curve] == [(2, 7.0), (6, 6.0)]
    assert "objective" not in found["trial 1 of tamt_mlm (mini)"].data.metrics


def test_a_dead_mlflow_delays_itself_only(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    uri = f"sqlite:///{blocked}/mlflow.db"
    one = sweep(uri)
    (tmp_path / "blocked").rmdir()
    (tmp_path / "blocked").write_text("a file where a directory should be")
    with pytest.raises(TrackingError):
        StudyWriter(one).write([outcome(one, 2)])

    asked = threading.Event()

    def read() -> list[Outcome]:
        asked.set()
        return [outcome(one, 2)]

    tracker = TuningTracker(one, read)
    tracker.start()
    assert asked.wait(60)
    tracker.tell()
    assert tracker.close(60)

    (tmp_path / "blocked").unlink()
    blocked.mkdir()
    tracker = TuningTracker(one, read)
    tracker.start()
    assert tracker.close(60) is None
    assert len(runs(uri)) == 3
