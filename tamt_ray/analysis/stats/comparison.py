"""Does one method beat another at a sparsity? Every two methods, paired."""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import polars as pl

from tamt_ray.analysis.stats.effect import effect, holm, paired
from tamt_ray.plan.expand import DENSE

_SCHEMA = {
    "model": pl.String, "sparsity": pl.Float64, "task": pl.String, "a": pl.String, "b": pl.String,
    "effect": pl.Float64, "low": pl.Float64, "high": pl.Float64, "p": pl.Float64,
    "p_holm": pl.Float64, "masks": pl.Int64, "runs": pl.Int64, "n_expected": pl.Int64,
    "reason": pl.String,
}  # fmt: skip


def comparisons(runs: pl.DataFrame) -> pl.DataFrame:
    """A row for each two methods of one (model, sparsity, task), the later one first.

    `effect`: mean of a − b in points (percent), `low` to `high` its 95 % interval, `p` two-sided
    (`effect.effect`), from `masks` × `runs` pairs of `n_expected`; null where there are too few.
    `p_holm`: corrected over all pairs of one (model, sparsity, task). `reason`: why there is no
    interval; empty where there is one.
    """
    places: dict[tuple[object, ...], dict[str, _Runs]] = {}
    columns = ("model", "sparsity", "task", "method", "mask_seed", "seed", "score")
    for *labels, method, mask, seed, score in runs.select(columns).iter_rows():
        if method != DENSE:
            found = places.setdefault(tuple(labels), {}).setdefault(method, _Runs({}, {}))
            found.asked[mask, seed] = 0.0
            if score is not None:
                found.there[mask, seed] = score
    rows: list[list[object]] = []
    for labels, methods in places.items():
        family = [_compare(b, a, methods) for a, b in combinations(methods, 2)]
        corrected = holm([row[5] for row in family])
        for row, p in zip(family, corrected, strict=True):
            rows.append([*labels, *row[:6], p, *row[6:]])
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def cells(runs: pl.DataFrame, value: str = "score") -> dict[tuple[int | None, int | None], float]:
    """The value of each (mask seed, fine-tuning seed); a missing run is not there."""
    columns = ["mask_seed", "seed" if "seed" in runs.columns else pl.lit(None).alias("seed"), value]
    found = runs.drop_nulls(value).select(columns)
    return {(mask, seed): score for mask, seed, score in found.iter_rows()}


_Row = tuple[
    str, str, float | None, float | None, float | None, float | None, int | None, int | None, int,
    str,
]  # fmt: skip


class _Runs(NamedTuple):
    """The runs of one method by (mask seed, fine-tuning seed): those present, and all."""

    there: dict[tuple[int | None, int | None], float]
    asked: dict[tuple[int | None, int | None], float]


def _compare(a: str, b: str, methods: Mapping[str, _Runs]) -> _Row:
    expected = paired(methods[a].asked, methods[b].asked).values.size
    found = effect(paired(methods[a].there, methods[b].there))
    if found is None:
        return a, b, None, None, None, None, None, None, expected, "no run that both have"
    return (
        a, b, found.value, found.low, found.high, found.p, found.masks, found.runs, expected,
        found.reason,
    )  # fmt: skip
