"""Predicted operations of every kind of unit against those that PyTorch counts."""

import json
from pathlib import Path

import pytest
import yaml
from torch.utils.flop_counter import FlopCounterMode

from tamt_ray.execution.preflight import check
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.cost import operations
from tamt_ray.plan.expand import expand
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.store import Store


def test_the_operations_of_a_unit_are_those_that_are_counted(
    toy: dict[str, object], tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prediction leaves out attention itself, 12 % of a layer here, and padding: all sentences
    have the same length."""
    for part, count in (("train", 200), ("validation", 40)):
        rows = (
            {"text": "a b c d e f g " + ("good", "bad")[i % 2], "label": i % 2}
            for i in range(count)
        )
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    toy["models"] = {"tiny": {"source": f"dir:{model_dir}", "head": {"steps": 6, "batch_size": 4}}}
    toy["methods"] = [*toy["methods"], "wanda", {"method": "movement", "steps": 4}]
    sweep = parse_sweep(yaml.safe_dump(toy))
    plan = expand(sweep)
    sizes = check(sweep, plan.files, plan.texts).sizes
    runner = UnitRunner(Store(str(tmp_path / "results")), ProcessGroup(), "here")
    ratios: dict[str, float] = {}
    for unit in plan.units.values():
        with FlopCounterMode(display=False) as counted:
            runner.perform(unit)
        if predicted := operations(unit, sizes):
            ratios[str(unit)] = predicted / counted.get_total_flops()
    assert len(ratios) > 20
    assert {name: ratio for name, ratio in ratios.items() if not 0.8 < ratio < 1.2} == {}
