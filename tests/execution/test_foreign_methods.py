"""Methods of other packages, installed by pip beside the project, in sweeps on a real Ray."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tamt_ray.cli.new_method import write_method
from tests.plugins.packages import ROOT, install

Tamt = Callable[..., subprocess.CompletedProcess[str]]
Toy = dict[str, Any]
Faults = StartDriver = Any
"""The fixtures' own classes, of `conftest`."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example package and one that `tamt new-method --trains` wrote."""
    found = tmp_path / "site"
    install(ROOT / "examples" / "snip", found)
    install(write_method("soft", tmp_path, trains=True), found)
    monkeypatch.setenv("PYTHONPATH", f"{found}:{ROOT}")
    return found


def test_a_sweep_has_methods_of_other_packages(
    toy: Toy, tamt: Tamt, site: Path, tmp_path: Path
) -> None:
    """One that looks at text and one that trains with two workers: both in the table, in the report
    and in MLflow, their packages in the records; a second call finds nothing to do."""
    toy["methods"] = [
        "omp", {"method": "snip", "batches": 2, "batch_size": 4},
        {"method": "soft", "steps": 6, "lr": 1e-3},
    ]  # fmt: skip
    toy["execution"] = {"search": {"workers": 2, "cpus": 0.5}, "finetune": {"cpus": 0.5}}
    done = tamt(toy)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if "0.5" in line}
    assert {"snip", "soft"} <= rows.keys() | {line.split()[1] for line in done.stdout.splitlines()
                                              if line.startswith("tiny ")}  # fmt: skip
    report = (tmp_path / "results/reports/toy/report.html").read_text()
    assert "|g · w| over 2 batches of 4" in report
    records = list((tmp_path / "results").rglob("units/search/*/record.json"))
    configs = [json.loads(path.read_text())["config"] for path in records]
    packages = {config["method"]: config.get("package") for config in configs}
    assert packages == {"omp": None, "snip": "tamt-snip", "soft": "tamt-soft"}
    devices = {json.loads(path.read_text())["device"][:4] for path in records}
    assert "2 x " in devices
    client = MlflowClient(toy["mlflow"])
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`tamt.kind` = 'search'")
    assert {run.data.tags["tamt.method"] for run in runs} == {"omp", "snip", "soft"}
    again = tamt(toy, "--json")
    assert json.loads(again.stdout)["done"]["search"] == 3


def test_a_misspelt_foreign_method_is_told_like_one_of_ours(
    toy: Toy, tamt: Tamt, site: Path
) -> None:
    toy["methods"] = ["omp", "snipp"]
    said = tamt(toy, "--dry-run")
    assert said.returncode == 2
    assert "did you mean `snip`?" in said.stderr
    toy["methods"] = [{"method": "snip", "batch": 3}]
    assert "did you mean `batches`?" in tamt(toy, "--dry-run").stderr


def test_a_plan_with_foreign_methods_needs_no_torch(toy: Toy, site: Path, tmp_path: Path) -> None:
    toy["methods"] = ["snip", "soft"]
    (tmp_path / "sweep.json").write_text(json.dumps(toy))
    code = (
        "import sys, pathlib; from tamt_ray.spec.load import load_sweep;"
        "from tamt_ray.plan.expand import expand;"
        "expand(load_sweep(pathlib.Path('sweep.json')));"
        "sys.exit(', '.join({'torch', 'ray', 'mlflow', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.faults
def test_a_killed_gang_goes_on_with_a_method_of_another_package(
    toy: Toy, faults: Faults, start_driver: StartDriver, site: Path, tmp_path: Path
) -> None:
    """Two workers; the second one is killed before its fifth step. The search goes on from the
    state behind the fourth, and its mask is that of a run which nothing befell."""
    soft = {"method": "soft", "steps": 8, "lr": 1e-3}
    toy |= {"methods": ["omp", soft], "tasks": {}}
    lane = {"workers": 2, "cpus": 0.5, "state_every": 1e-9}
    toy["execution"] = {"search": lane, "finetune": {"cpus": 0.5}}
    killed = faults.inject("kill", rank=1, step=4, method="soft")
    begun = faults.inject("nothing", times=9, rank=1, step=2, method="soft")
    path = f"{faults.environment['PYTHONPATH']}:{site}"
    driver = start_driver(toy, PYTHONPATH=path)
    assert driver.end() == 0, driver.said
    assert [len(faults.struck(name)) for name in (killed, begun)] == [1, 1]
    undisturbed = start_driver({**toy, "store": str(tmp_path / "whole")}, PYTHONPATH=str(site))
    assert undisturbed.end() == 0, undisturbed.said
    masks = [
        {json.loads(path.read_text())["artifacts"]["mask.safetensors"]["sha256"] for path in found}
        for found in (
            (tmp_path / folder).rglob("units/search/*/record.json")
            for folder in ("results", "whole")
        )
    ]
    assert masks[0] == masks[1]
