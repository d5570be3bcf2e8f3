"""The main job on real Ray, real MLflow and a tiny model."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.plan.expand import expand
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

Tamt = Callable[..., subprocess.CompletedProcess[str]]
Toy = dict[str, Any]


def relative(sweep: Toy, folder: Path) -> Toy:
    """The same sweep with paths as a person in that folder types them."""
    text = json.dumps(sweep)
    for path in set(re.findall(r'dir:(/[^"]+)', text)):
        text = text.replace(f"dir:{path}", f"dir:{os.path.relpath(path, folder)}")
    return json.loads(text)


def test_a_sweep_runs_once_and_whole(toy: Toy, tamt: Tamt, tmp_path: Path) -> None:
    """Every unit done, every mask exact, pruned weights zero, all of it in MLflow and the report;
    a second call finds nothing to do. Edited, only what is new runs, and a method whose learning
    rate overflows fails alone, with its step, and holds up only what needs it. Sources are named
    from where the command is typed."""
    toy = relative(toy, tmp_path)
    first = tamt(toy)
    assert first.returncode == 0, first.stderr
    sweep = Sweep.model_validate(toy)
    plan, store = expand(sweep), Store(sweep.store)
    records = store.done(plan.units)
    assert records.keys() == plan.units.keys()

    for record in records.values():
        if record.kind == "search":
            mask = mask_from_bytes(store.artifact(record, "mask.safetensors"))
            for matrix in mask.values():
                assert int((~matrix).sum()) == matrix.numel() // 2
        if record.kind == "finetune":
            assert record.metrics["pruned_nonzero"] == 0

    client = MlflowClient(sweep.mlflow)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    kinds = Counter(run.data.tags["tamt.kind"] for run in runs)
    assert kinds == {"search": 6, "dense": 1, "finetune": 7, "summary": 1}
    assert (tmp_path / "results/reports/toy/report.html").stat().st_size > 10_000

    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("record.json")}
    again = tamt(toy, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["done"] == {
        "head": 0, "search": 6, "pretrain_eval": 7, "finetune": 7
    }  # fmt: skip

    toy["methods"] = ["random", "omp", {"method": "imp", "step": 0.25, "steps": 12, "lr": 1e38}]
    toy["sparsities"] = [0.5, 0.25]
    edited = tamt(toy)
    assert edited.returncode == 1
    assert "NonFiniteLossError: the loss is nan at step" in edited.stderr
    assert "--retry-failed" in edited.stderr
    new = set((tmp_path / "results").rglob("record.json")) - stamps.keys()
    assert Counter(path.parts[-3] for path in new) == {
        "search": 2, "pretrain_eval": 2, "finetune": 2
    }  # fmt: skip
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    plan = expand(Sweep.model_validate(toy))
    failed = [plan.units[unit_id].cell for unit_id in store.failures(plan.units)]
    assert [(cell.method, cell.sparsity) for cell in failed] == [("imp", 0.5)]


def test_what_cannot_run_is_refused_before_anything_runs(
    toy: Toy, tamt: Tamt, tmp_path: Path
) -> None:
    toy["tasks"]["words"]["text"] = ["txt"]
    refused = tamt(toy)
    assert refused.returncode == 2
    assert "tasks.words" in refused.stderr
    assert "txt" in refused.stderr

    toy["tasks"]["words"]["text"] = ["text"]
    toy["execution"] = {"finetune": {"cpus": 4096}}
    refused = tamt(toy)
    assert refused.returncode == 3
    assert "4096 CPUs" in refused.stderr

    refused = tamt(toy, "--address", "127.0.0.1:9")
    assert refused.returncode == 3
    assert "127.0.0.1:9" in refused.stderr
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.cluster
def test_fractions_of_a_gpu_are_shared_out(
    toy: Toy, tamt: Tamt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With four logical GPUs and `gpus: 0.5`, eight fine-tunes run at once on all four."""
    monkeypatch.setenv("TAMT_LOGICAL_GPUS", "1")
    toy["finetune_seeds"] = list(range(8))
    toy["tasks"]["words"]["epochs"] = 40
    toy["execution"] = {"search": {"gpus": 0}, "finetune": {"cpus": 1, "gpus": 0.5}}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "num_gpus": 4})
    try:
        result = tamt(toy, "--address", cluster.address, "--only", "finetune/*/full/*")
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert result.returncode == 0, result.stderr
    plan, store = expand(Sweep.model_validate(toy)), Store(str(toy["store"]))
    tunes = [r for r in store.done(plan.units).values() if r.kind == "finetune"]
    spans = [(r.started, r.started + r.seconds) for r in tunes]
    at_once = max(sum(a <= start < b for a, b in spans) for start, _ in spans)
    assert at_once == 8
    assert {r.place.rsplit("GPU ", 1)[1] for r in tunes} == {"0", "1", "2", "3"}


def test_the_number_of_workers_changes_no_mask(toy: Toy, tamt: Tamt, tmp_path: Path) -> None:
    """A gang of two DDP workers finds what one process without Ray finds, but for the order of
    floating-point sums; while it holds both CPUs the fleet waits, and then does its part."""
    toy["methods"] = [
        {"method": "imp", "step": 0.25, "steps": 4},
        {"method": "tamt_mlm_kd", "steps": 6, "lr": 5e-3},
    ]
    toy["execution"] = {"search": {"workers": 2}}
    toy["tasks"] = {}
    result = tamt(toy)
    assert result.returncode == 0, result.stderr

    plan, together = expand(Sweep.model_validate(toy)), Store(str(toy["store"]))
    alone = Store(str(tmp_path / "alone"))
    bench = UnitRunner(alone, ProcessGroup(), "here")
    for unit in plan.units.values():
        if unit.kind == "search":
            pair = [
                mask_from_bytes(store.artifact(record, "mask.safetensors"))
                for store, record in (
                    (together, together.record("search", unit.id)),
                    (alone, bench.perform(unit)),
                )
                if record
            ]
            differing = sum(int((pair[0][name] != pair[1][name]).sum()) for name in pair[0])
            assert differing / pair[0].weights < 1e-3
