"""A tuning on real Ray and real Optuna: killed, taken up again, and finished."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tamt_ray.cli.sweep_context import SweepContext, open_sweep
from tamt_ray.execution.worker.bench import MASK
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.expand import expand
from tamt_ray.search.process_group import ProcessGroup
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


def opened(folder: Path) -> SweepContext:
    return open_sweep(folder / "sweep.yaml")


def test_a_dry_run_counts_trials_and_steps_without_heavy_imports(toy: Toy, tmp_path: Path) -> None:
    file = tmp_path / "tune.yaml"
    file.write_text(yaml.safe_dump(tuning(toy)))
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tamt_ray.sweep", str(file), "--dry-run",
         "--json"],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    told = json.loads(ran.stdout)
    assert told["studies"] == {
        "tiny/tamt_kd": {"trials": 5, "done": 0, "to_run": 5, "steps_at_most": 30},
    }
    # OMP and the first trial: one mask per rung.
    assert told["units"]["search"]["to_run"] == told["masks"] == 3
    assert told["units"]["pretrain_eval"]["to_run"] == 4
    imported = {m[1] for m in re.finditer(r"\| +(\w+)[\w.]*$", ran.stderr, re.MULTILINE)}
    assert "pydantic" in imported, "the import log is read wrongly"
    assert not imported & {"torch", "ray", "mlflow", "transformers", "optuna"}
    assert not (tmp_path / "results").exists()


def test_the_rate_and_the_threshold_of_distillation_are_one_setting(toy: Toy) -> None:
    """Twice both is the same search bit for bit; twice the rate alone is another one."""
    masks: list[str] = []
    store = Store(str(toy["store"]))
    for lr, threshold in ((5e-3, 0.01), (1e-2, 0.02), (1e-2, 0.01)):
        method = {"method": "tamt_kd", "steps": 6, "lr": lr, "threshold": threshold}
        sweep = Sweep.model_validate({**toy, "tasks": {}, "methods": [method]})
        (search,) = [u for u in expand(sweep).units.values() if u.kind == "search"]
        record = UnitRunner(store, ProcessGroup(), "here").perform(search)
        masks.append(record.artifacts[MASK].sha256)
    assert masks[0] == masks[1]
    assert masks[0] != masks[2]


@pytest.mark.faults
def test_a_killed_tuning_goes_on_and_computes_nothing_twice(
    toy: Toy, tamt: Tamt, start_driver: Callable[..., Any], faults: Faults, tmp_path: Path
) -> None:
    """The worker of the third trial is killed, and then the driver."""
    faults.inject("kill", method="tamt_kd-2", checkpoint=2)
    killed = start_driver(tuning(toy), **faults.environment)
    killed.wait_for(lambda: "lost   search" in killed.said, 280)
    os.kill(killed.pid, signal.SIGKILL)
    killed.end()
    before = opened(tmp_path)
    assert before.survey
    assert before.records

    resumed = start_driver(tuning(toy), "--json")
    assert resumed.end(280) == 0, resumed.said
    after = opened(tmp_path)
    assert after.survey
    assert after.missing == 0
    assert before.records.items() <= after.records.items(), "a unit was computed again"
    (found,) = after.survey.outcomes
    drawn = [trial.values for trial in found.trials]
    assert len(drawn) == len({repr(values) for values in drawn}) == 5
    assert drawn[: len(before.survey.outcomes[0].trials)] == [
        trial.values for trial in before.survey.outcomes[0].trials
    ]
    # The best of five at the first rung goes on, and the sweep's own values do.
    assert 1 <= len(found.state("finished")) < 5
    (body,) = [line for line in resumed.said.splitlines() if line.startswith("{")]
    told = json.loads(body)["studies"]["tiny/tamt_kd"]
    assert told["trials"] == 5
    assert told["best"] <= told["own"]
    assert told["omp"] > 0

    again = tamt(tuning(toy))
    assert again.returncode == 0, again.stderr
    assert "5 trials drawn, 0 to draw" in again.stderr
    assert "method: tamt_kd" in again.stdout
    assert opened(tmp_path).records == after.records

    # A tuned value used in a later sweep shares the trial's search.
    pasted = yaml.safe_load((tmp_path / "results/reports/toy/best.yaml").read_text())
    assert pasted["methods"][0]["lr"] == told["values"]["lr"]
    later = {**toy, **pasted, "mask_seeds": [0], "tasks": {}}
    plan = expand(Sweep.model_validate(later))
    done = Store(str(toy["store"])).done(plan.units)
    assert {unit.kind for unit in plan.units.values() if unit.id in done} >= {"search"}
    assert done.keys() == plan.units.keys()


@pytest.mark.faults
def test_memory_a_hang_and_divergence_in_a_tuning(
    toy: Toy, start_driver: Callable[..., Any], faults: Faults, tmp_path: Path
) -> None:
    """A trial that runs out of memory or hangs is tried again; one whose loss is no number has
    diverged, and the run ends well."""
    memory = faults.inject("memory", method="tamt_kd-1", checkpoint=2)
    diverge = faults.inject("diverge", method="tamt_kd-2", checkpoint=2, times=9)
    hang = faults.inject("sleep", method="tamt_kd-3", checkpoint=2)
    driver = start_driver(tuning(toy) | {"execution": {"patience": 15}}, **faults.environment)
    assert driver.end(280) == 0, driver.said
    assert len(faults.struck(memory)) == 1
    assert len(faults.struck(diverge)) == 1
    assert len(faults.struck(hang)) == 1
    assert "no progress, attempt 1" in driver.said
    (outcome,) = opened(tmp_path).survey.outcomes  # pyright: ignore[reportOptionalMemberAccess]
    assert [trial.number for trial in outcome.state("diverged")] == [2]
    assert outcome.trials[1].rungs
    assert outcome.trials[3].rungs
