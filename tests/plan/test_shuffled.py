"""Shuffled masks: the other method's searches, its budget, and new places."""

from typing import Any, cast

import pytest
import torch

from tamt_ray.masks.mask import Mask
from tamt_ray.methods.base import Bench
from tamt_ray.methods.shuffled import ShuffledSearch, Within
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import SpecError, parse_sweep

SWEEP = """\
name: small
models: {mini: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
sparsities: [0.5]
mask_seeds: [1, 2]
methods:
  - {method: tamt_kd, steps: 9}
"""


class Holding:
    """A bench that has one mask."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def mask(self, unit: str) -> Mask:
        assert unit == "x"
        return self._mask


def shuffled(mask: Mask, within: Within, seed: int = 1) -> Mask:
    model: Any = {"source": "dir:m"}
    search = ShuffledSearch(model=model, sparsity=0.5, of="x", within=within, seed=seed)
    return search.find(cast("Bench", Holding(mask))).mask


@pytest.fixture
def mask() -> Mask:
    """Rows and columns that keep from none to all."""
    drawn = torch.Generator().manual_seed(0)
    shares = torch.linspace(0, 1, 40)[:, None] * torch.linspace(0.1, 1.9, 60)
    return Mask({"w": torch.rand((40, 60), generator=drawn) < shares})


@pytest.mark.parametrize(("within", "axis"), [("row", 1), ("column", 0)])
def test_each_row_or_column_keeps_as_many_in_other_places(
    mask: Mask, within: Within, axis: int
) -> None:
    before, after = mask["w"], shuffled(mask, within)["w"]
    assert torch.equal(after.sum(dim=axis), before.sum(dim=axis))
    assert not torch.equal(after.sum(dim=1 - axis), before.sum(dim=1 - axis))
    assert int((after != before).sum()) > 400


def test_within_the_matrix_only_the_whole_stays(mask: Mask) -> None:
    after = shuffled(mask, "matrix")
    assert after.zeros == mask.zeros
    # Rows no longer differ: each keeps the mean share, give or take four standard deviations.
    rows = after["w"].float().mean(dim=1)
    assert float((rows - rows.mean()).abs().max()) < 4 * (0.25 / 60) ** 0.5
    assert not torch.equal(after["w"], shuffled(mask, "matrix", seed=2)["w"])
    assert torch.equal(after["w"], shuffled(mask, "matrix")["w"])


def test_it_needs_the_other_search_and_shares_it() -> None:
    plan = expand(parse_sweep(SWEEP + "  - {method: shuffled, of: {method: tamt_kd, steps: 9}}\n"))
    searches = {cell: plan.units[unit] for cell, unit in plan.cells["search"].items()}
    by_method = {(cell.method, cell.mask_seed): unit for cell, unit in searches.items()}
    assert len(by_method) == 4
    for seed in (1, 2):
        assert by_method["shuffled", seed].parents == (by_method["tamt_kd", seed].id,)


def test_a_mask_without_a_seed_is_shuffled_under_each() -> None:
    plan = expand(parse_sweep(SWEEP + "  - {method: shuffled, of: omp, within: row}\n"))
    seeds = [cell.mask_seed for cell in plan.cells["search"] if cell.method == "shuffled"]
    assert seeds == [1, 2]
    assert "omp" not in {cell.method for cell in plan.cells["search"]}


def test_a_wrong_entry_inside_is_refused_at_its_line() -> None:
    with pytest.raises(SpecError, match=r"<sweep>:8: .*stepz"):
        parse_sweep(SWEEP + "  - {method: shuffled, of: {method: tamt_kd, stepz: 9}}\n")
