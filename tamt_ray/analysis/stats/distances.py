"""Distances between masks: 1 − Jaccard between all subnetworks (Fig. 8 and 17)."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import polars as pl

from tamt_ray.analysis.artifacts import ArtifactReader
from tamt_ray.analysis.results import by_cell
from tamt_ray.masks.bits import Bits
from tamt_ray.store.record import MASK, Record

BUDGET = 512 * 2**20
"""Bytes of packed masks held at once: 39 of BERT-base."""

_SIDE = {"method": pl.String, "seed": pl.Int64, "checkpoint": pl.Int64, "mask": pl.String}
_SCHEMA = {
    "model": pl.String, "sparsity": pl.Float64, "a": pl.String, "b": pl.String,
    **{f"{name}_a": kind for name, kind in _SIDE.items()},
    **{f"{name}_b": kind for name, kind in _SIDE.items()},
    "macro": pl.Float64, "global": pl.Float64,
}  # fmt: skip


def distances(
    searches: pl.DataFrame, records: Mapping[str, Record], reader: ArtifactReader | None
) -> pl.DataFrame:
    """Return a row for each two subnetworks of one (model, sparsity), each pair once, in plan
    order.

    `a`, `b`: "method", "method·seed", or "method·seed·steps" for a checkpoint; `method_a`,
    `seed_a`, `checkpoint_a` and `_b`: the same apart; `mask_a`, `mask_b`: sha256 of the mask files.
    `macro`: 1 − Jaccard, unweighted mean over matrices, as in the released code; `global`: over
    all weights together. A subnetwork that two methods share is there once. Without a `reader`
    there are no rows.
    """
    if reader is None:
        return pl.DataFrame(schema=_SCHEMA)
    known: dict[tuple[str, str], tuple[float, float]] = {}
    if reader.distances is not None:
        columns = reader.distances.select("mask_a", "mask_b", "macro", "global")
        known = {
            pair: (macro, whole)
            for a, b, macro, whole in columns.iter_rows()
            for pair in ((a, b), (b, a))
        }
    rows: list[tuple[object, ...]] = []
    present = searches.filter(pl.col("unit").is_in(records.keys()))
    groups = present.unique(["model", "sparsity", "unit"], keep="first", maintain_order=True)
    for cell, group in by_cell(groups, "model", "sparsity"):
        masks = {unit: records[unit].artifacts[MASK].sha256 for unit in group["unit"]}
        there = {unit: mask for unit, mask in masks.items() if not records[unit].bare}
        found = known | dict(_compared(there, known, reader))
        sides = [_side(row, masks[row["unit"]]) for row in group.iter_rows(named=True)]
        for (a, of_a), (b, of_b) in combinations(sides, 2):
            if (of_a[-1], of_b[-1]) not in found:
                continue  # The mask was published as its digest alone.
            rows.append((cell.model, cell.sparsity, a, b, *of_a, *of_b, *found[of_a[-1], of_b[-1]]))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _side(row: Mapping[str, object], mask: str) -> tuple[str, tuple[object, object, object, str]]:
    parts = (row["method"], row["mask_seed"], row["checkpoint"])
    return "·".join(str(part) for part in parts if part is not None), (*parts, mask)


def _compared(
    masks: Mapping[str, str],
    known: Mapping[tuple[str, str], tuple[float, float]],
    reader: ArtifactReader,
) -> Iterator[tuple[tuple[str, str], tuple[float, float]]]:
    """Distances of the pairs not `known` yet. Each mask is read once where all fit the budget."""
    units = list(masks)
    wanted = {
        (a, b) for a, b in combinations(units, 2) if (masks[a], masks[b]) not in known
    }  # fmt: skip
    left = [unit for unit in units if any(unit in pair for pair in wanted)]
    held: dict[str, Bits] = {}
    while left:
        # Hold as many as the budget allows, then let all behind them pass by, one at a time.
        held = {left[0]: reader.bits(left[0])}
        room = max(1, BUDGET // max(1, held[left[0]].nbytes) - 1)
        passing = left[1:]
        for unit in passing:
            bits = reader.bits(unit)
            for other, held_bits in held.items():
                if (other, unit) in wanted:
                    yield (masks[other], masks[unit]), held_bits.distances(bits)
            if len(held) < room:
                held[unit] = bits
        left = left[len(held) :]
        held.clear()
