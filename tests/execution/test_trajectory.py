"""Searches that differ in their last step are one training, kept, continued and cleaned up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tamt_ray.execution.worker.bench import UnitBench
from tamt_ray.execution.worker.checkpoint_policy import CheckpointPolicy
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.methods.tamt import TamtSearch
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Unit
from tamt_ray.search.engine import Settings
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.store import Store
from tamt_ray.values.text import Text

STEPS = 6


def planned(toy: Mapping[str, object], method: Mapping[str, object]) -> Plan:
    return expand(parse_sweep(yaml.safe_dump({**toy, "methods": [method], "tasks": {}})))


def searches(plan: Plan) -> list[Unit]:
    return [unit for unit in plan.units.values() if unit.kind == "search"]


@pytest.fixture
def chain(toy: dict[str, Any]) -> list[Unit]:
    """Steps 2, 6 and 9; 6 is the sweep's own last step."""
    method = {"method": "tamt_mlm", "steps": STEPS, "lr": 5e-3, "checkpoints": [9, 2]}
    return searches(planned(toy, method))


def bench(folder: Path, saving: CheckpointPolicy | None = None) -> UnitRunner:
    return UnitRunner(Store(str(folder)), ProcessGroup(), "here", saving)


def states(folder: Path, unit: Unit) -> list[int]:
    found = (folder / "states" / unit.trajectory).glob("*.safetensors")
    return sorted(int(path.name[:10]) for path in found)


def test_a_chain_in_the_order_of_steps(chain: list[Unit]) -> None:
    assert [unit.config.steps for unit in chain if isinstance(unit.config, TamtSearch)] == [2, 6, 9]
    assert len({unit.trajectory for unit in chain}) == 1
    assert [unit.begin for unit in chain] == [0, 2, 6]
    assert [unit.after for unit in chain] == [None, chain[0].id, chain[1].id]
    assert [unit.goes_on for unit in chain] == [True, True, False]
    assert [unit.cell.checkpoint for unit in chain] == [2, None, 9]


def test_each_link_goes_on_with_the_one_before(
    chain: list[Unit], toy: dict[str, Any], tmp_path: Path
) -> None:
    """And every mask is that of a search which never heard of the others."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    seconds = 0.0
    for unit in chain:
        record = bench(together).perform(unit)
        assert isinstance(unit.config, TamtSearch)
        single = bench(alone / str(unit.config.steps)).perform(unit)
        assert record.artifacts["mask.safetensors"] == single.artifacts["mask.safetensors"]
        assert record.metrics["iterations"] == unit.config.steps
        assert record.metrics["search_seconds"] > seconds
        seconds = record.metrics["search_seconds"]
    assert states(together, chain[0]) == [6, 9]


def test_only_the_missing_steps_are_trained(chain: list[Unit], tmp_path: Path) -> None:
    drawn: list[int] = []
    draw = Stream.batch

    def watched(stream: Stream, step: int) -> object:
        drawn.append(step)
        return draw(stream, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "batch", watched)
        for unit in chain:
            bench(tmp_path / "store").perform(unit)
    assert drawn == list(range(9))


def test_an_earlier_step_asked_for_later_starts_anew(chain: list[Unit], tmp_path: Path) -> None:
    """The state of step 6 is past it, stays, and serves what comes after."""
    store = tmp_path / "store"
    late = bench(store).perform(chain[1])
    early = bench(store).perform(chain[0])
    assert early.metrics["iterations"] == 2
    assert states(store, chain[0]) == [2, 6]
    assert late.artifacts["mask.safetensors"] != early.artifacts["mask.safetensors"]
    assert mask_from_bytes(Store(str(store)).artifact(early, "mask.safetensors")).zeros


def test_states_are_dropped_where_they_are_not_wanted(chain: list[Unit], tmp_path: Path) -> None:
    store = tmp_path / "store"
    for unit in chain[:2]:
        bench(store, CheckpointPolicy(leave_last=False)).perform(unit)
        assert states(store, unit), "the next link needs it"
    bench(store, CheckpointPolicy(leave_last=False)).perform(chain[2])
    assert states(store, chain[2]) == []


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_damaged_state_costs_time_and_nothing_else(
    chain: list[Unit], tmp_path: Path, damage: bytes
) -> None:
    """The state before it is taken; without one the search begins at the beginning."""
    sound, hurt = tmp_path / "sound", tmp_path / "hurt"
    for unit in chain:
        expected = bench(sound).perform(unit)
    bench(hurt).perform(chain[0])
    bench(hurt).perform(chain[1])
    newest = max((hurt / "states" / chain[0].trajectory).glob("*.safetensors"))
    newest.write_bytes(damage)
    record = bench(hurt).perform(chain[2])
    assert record.artifacts["mask.safetensors"] == expected.artifacts["mask.safetensors"]


def test_imp_without_rewinding_hands_on_its_weights(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Level 0.75 from the weights of level 0.5; both levels' time and steps are added up."""
    method = {"method": "imp", "step": 0.25, "steps": 3, "lr": 1e-3}
    rewound = searches(planned({**toy, "sparsities": [0.75]}, method))
    trained_on = searches(planned({**toy, "sparsities": [0.75]}, {**method, "rewind": False}))
    begun: list[int] = []
    stream = UnitBench.stream

    def watched(self: UnitBench, text: Text, settings: Settings, first: int = 0) -> Stream:
        begun.append(first)
        return stream(self, text, settings, first)

    monkeypatch.setattr(UnitBench, "stream", watched)
    store = Store(str(tmp_path / "store"))
    records = {
        kind: [UnitRunner(store, ProcessGroup(), "here").perform(unit) for unit in units]
        for kind, units in (("rewound", rewound), ("trained_on", trained_on))
    }
    first, second = records["trained_on"]
    assert set(first.artifacts) == {"mask.safetensors", "history.parquet", "weights.safetensors"}
    assert set(records["rewound"][0].artifacts) == {"mask.safetensors", "history.parquet"}
    masks = {
        kind: [r.artifacts["mask.safetensors"].sha256 for r in records[kind]] for kind in records
    }
    assert masks["rewound"][0] == masks["trained_on"][0]
    assert masks["rewound"][1] != masks["trained_on"][1]
    assert [record.metrics["iterations"] for record in (first, second)] == [3, 6]
    assert begun == [0, 3, 0, 3], "the data go on where the level below ended"
    assert second.metrics["search_seconds"] > first.metrics["search_seconds"]
    assert not list(tmp_path.glob("store/states/*/*"))
