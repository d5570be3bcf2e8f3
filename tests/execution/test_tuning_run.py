"""A tuning on real Ray and real Optuna: killed, taken up again, and finished."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tamt_ray.execution.tuning.trials import known_trials, open_storage
from tamt_ray.plan.tuning import studies
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

Tamt = Callable[..., subprocess.CompletedProcess[str]]
Toy = dict[str, Any]
Faults = Any
"""The fixture's own class, of `conftest`."""


def tuning(toy: Toy) -> Toy:
    return {
        **toy,
        "methods": ["omp", {"method": "tamt_kd", "steps": 6, "lr": 5e-3}],
        "tune": {
            "sparsity": 0.5, "trials": 5, "rungs": [2, 6],
            "methods": {"tamt_kd": {"lr": {"log": [1e-4, 1e-1]}, "scale": {"uniform": [1.1, 4]}}},
        },
    }  # fmt: skip


def test_a_dry_run_counts_trials_and_steps_without_heavy_imports(toy: Toy, tmp_path: Path) -> None:
    file = tmp_path / "tune.yaml"
    file.write_text(yaml.safe_dump(tuning(toy)))
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tamt_ray.sweep", str(file), "--dry-run",
         "--json"],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert json.loads(ran.stdout) == {
        "studies": {
            "tiny/tamt_kd": {"trials": 5, "done": 0, "to_run": 5, "steps_at_most": 30},
        },
        "steps_at_most": 30,
    }
    imported = {m[1] for m in re.finditer(r"\| +(\w+)[\w.]*$", ran.stderr, re.MULTILINE)}
    assert "pydantic" in imported, "the import log is read wrongly"
    assert not imported & {"torch", "ray", "mlflow", "transformers", "optuna"}
    assert not (tmp_path / "results").exists()


@pytest.mark.faults
def test_a_killed_tuning_goes_on_and_never_runs_an_ended_trial_again(
    toy: Toy, tamt: Tamt, start_driver: Callable[..., Any], tmp_path: Path
) -> None:
    one = Sweep.model_validate(tuning(toy))
    (study,) = studies(one)
    killed = start_driver(tuning(toy))
    killed.wait_for(lambda: ", finished" in killed.said or ", stopped" in killed.said, 250)
    killed.process.kill()
    killed.end()
    storage = open_storage(Store(one.store), one.name)
    before = known_trials(storage, study)
    assert before

    resumed = tamt(tuning(toy), "--json")
    assert resumed.returncode == 0, resumed.stderr
    after = known_trials(storage, study)
    assert len(after) == 5
    assert set(map(repr, before)) <= set(map(repr, after))
    assert len({repr(trial.values) for trial in after}) == 5
    told = json.loads(resumed.stdout)["tiny/tamt_kd"]
    assert told["trials"] == 5
    assert told["best"] == min(t.rungs[-1].losses["kd_loss"] for t in after if len(t.rungs) == 2)
    assert told["best"] <= told["own"]
    assert told["omp"] > 0

    again = tamt(tuning(toy))
    assert again.returncode == 0, again.stderr
    assert "5 done, 0 to run" in again.stderr
    assert "method: tamt_kd" in again.stdout
    assert known_trials(storage, study) == after
    pasted = yaml.safe_load((tmp_path / "results/reports/toy/best.yaml").read_text())
    assert pasted["methods"][0]["lr"] == told["values"]["lr"]


@pytest.mark.faults
def test_a_trial_that_hangs_ends_its_process_and_begins_anew(
    toy: Toy, start_driver: Callable[..., Any], faults: Faults
) -> None:
    sweep = {**tuning(toy), "execution": {"patience": 30}}
    hang = faults.inject("sleep", step=3)
    driver = start_driver(sweep, **faults.environment)
    assert driver.end(280) == 0, driver.said
    assert len(faults.struck(hang)) == 1
    assert "its worker died" in driver.said
    one = Sweep.model_validate(sweep)
    (study,) = studies(one)
    ended = known_trials(open_storage(Store(one.store), one.name), study)
    assert len(ended) == 5
    assert {trial.state for trial in ended} <= {"finished", "stopped"}
