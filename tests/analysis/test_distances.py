"""Distances between all masks of a sparsity: each pair once, each mask read once, none twice."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from tamt_ray.analysis.artifacts import ArtifactReader
from tamt_ray.analysis.results import collect_searches
from tamt_ray.analysis.stats import distances as module
from tamt_ray.analysis.stats.distances import MASK, distances
from tamt_ray.masks.bits import Bits
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.record import Artifact

KEPT = {"random": 0b11110000, "omp": 0b11111100, "imp": 0b01111110, "tamt_kd": 0b11111110}


def bits(kept: int) -> Bits:
    """Two matrices: eight weights, and four of which all are kept."""
    return Bits.of({"w": bytes([kept]), "x": bytes([0b11110000])}, {"w": (2, 4), "x": (1, 4)})


class Reader:
    """A reader that counts what is read from it."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.read = plan, Counter[str]()

    def bits(self, unit: str) -> Bits:
        self.read[unit] += 1
        return bits(KEPT[str(self.plan.units[unit].cell.method)])

    def artifacts(self, known: pl.DataFrame | None = None) -> ArtifactReader:
        return ArtifactReader(self.bits, lambda _: None, known)


@pytest.fixture
def vouched(records: dict) -> dict:
    """Records whose masks have digests of their own."""
    return {
        unit: record.model_copy(update={"artifacts": {MASK: Artifact(sha256=unit, bytes=2)}})
        for unit, record in records.items()
    }


def test_every_pair_once(plan: Plan, vouched: dict) -> None:
    reader = Reader(plan)
    found = distances(collect_searches(plan, vouched), vouched, reader.artifacts())
    names = ["random·1", "random·2", "omp", "imp·1", "imp·2", "tamt_kd·1", "tamt_kd·2"]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    assert found.select("a", "b").rows() == pairs
    assert set(reader.read.values()) == {1}
    row = found.row(pairs.index(("omp", "imp·2")), named=True)
    # 5 of 7 kept weights are shared in w, all 4 in x.
    assert row["macro"] == pytest.approx((2 / 7 + 0) / 2)
    assert row["global"] == pytest.approx(1 - 9 / 11)
    assert (row["method_a"], row["seed_a"], row["seed_b"]) == ("omp", None, 2)
    assert found.row(0, named=True)["macro"] == 0


def test_known_pairs_are_not_compared_again(plan: Plan, vouched: dict) -> None:
    searches = collect_searches(plan, vouched)
    first = distances(searches, vouched, Reader(plan).artifacts())
    reader = Reader(plan)
    assert distances(searches, vouched, reader.artifacts(first)).equals(first)
    assert not reader.read
    # One mask with new content: it is compared with the six others, which takes all of them.
    omp = next(unit for unit in vouched if getattr(plan.units[unit].config, "method", "") == "omp")
    changed = vouched[omp].model_copy(
        update={"artifacts": {MASK: Artifact(sha256="f" * 64, bytes=2)}}
    )
    again = distances(searches, vouched | {omp: changed}, reader.artifacts(first))
    assert again.drop("mask_a", "mask_b").equals(first.drop("mask_a", "mask_b"))
    assert reader.read[omp] >= 1
    assert len(reader.read) == 7


def test_memory_is_bounded(plan: Plan, vouched: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two masks beside the one that passes by: the same table, more reading."""
    searches = collect_searches(plan, vouched)
    whole = distances(searches, vouched, Reader(plan).artifacts())
    monkeypatch.setattr(module, "BUDGET", 3 * bits(1).nbytes)
    reader = Reader(plan)
    assert distances(searches, vouched, reader.artifacts()).equals(whole)
    assert max(reader.read.values()) > 1


def test_missing_masks_and_no_shelf(plan: Plan, vouched: dict) -> None:
    omp = next(unit for unit in vouched if getattr(plan.units[unit].config, "method", "") == "omp")
    del vouched[omp]
    searches = collect_searches(plan, vouched)
    found = distances(searches, vouched, Reader(plan).artifacts())
    assert "omp" not in found["a"].to_list()
    assert found.height == 15
    assert distances(searches, vouched, None).is_empty()


def test_checkpoints_and_shared_masks(grid_text: Callable, fill_grid: Callable) -> None:
    sweep = parse_sweep(grid_text(tasks=("cola",), sparsities=(0.1, 0.7)).replace(
        "- {method: tamt_mlm,", "- {method: tamt_mlm, steps: 900,").replace(
        "- {method: tamt_kd,", "- {method: tamt_kd, steps: 900,").replace(
        "- tamt_mlm_kd", "- {method: tamt_mlm_kd, steps: 900}"))  # fmt: skip
    plan = expand(sweep)
    records = {
        unit: record.model_copy(update={"artifacts": {MASK: Artifact(sha256=unit, bytes=2)}})
        for unit, record in fill_grid(plan).items()
    }
    rng = np.random.default_rng(0)
    artifacts = ArtifactReader(lambda _: bits(int(rng.integers(1, 256))), lambda _: None)
    found = distances(collect_searches(plan, records), records, artifacts)
    # At 10 % IMP is OMP: one mask, under the name that comes first.
    shallow = found.filter(pl.col("sparsity") == 0.1)
    assert "imp" not in {*shallow["method_a"], *shallow["method_b"]}
    kept = found.filter((pl.col("a") == "tamt_mlm·1·5000") | (pl.col("b") == "tamt_mlm·1·5000"))
    assert {*kept["checkpoint_a"], *kept["checkpoint_b"]} >= {None, 5000}
