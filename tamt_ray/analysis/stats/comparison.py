"""Does one method beat another at a sparsity? Every two methods, paired."""

from itertools import combinations

import polars as pl

from tamt_ray.analysis.results import by_cell
from tamt_ray.analysis.stats.effect import effect, holm, paired
from tamt_ray.plan.expand import DENSE

_SCHEMA = {
    "model": pl.String, "sparsity": pl.Float64, "task": pl.String, "a": pl.String, "b": pl.String,
    "effect": pl.Float64, "low": pl.Float64, "high": pl.Float64, "p": pl.Float64,
    "p_holm": pl.Float64, "masks": pl.Int64, "runs": pl.Int64, "n_expected": pl.Int64,
    "reason": pl.String,
}  # fmt: skip


def comparisons(runs: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each two methods of one (model, sparsity, task), the later one first.

    `effect`: mean of a − b in points (percent), `low` to `high` its 95 % interval, `p` two-sided
    (`effect.effect`), from `masks` × `runs` pairs of `n_expected`; null where there are too few.
    `p_holm`: corrected over all pairs of one (model, sparsity, task). `reason`: why there is no
    interval; empty where there is one.
    """
    rows: list[dict[str, object]] = []
    pruned = runs.filter(pl.col("method") != DENSE)
    for place, group in by_cell(pruned, "model", "sparsity", "task"):
        there = {cell.method: cells(part) for cell, part in by_cell(group, "method")}
        asked_for = group.with_columns(score=pl.lit(0.0))
        asked = {cell.method: cells(part) for cell, part in by_cell(asked_for, "method")}
        pairs = [(later, earlier) for earlier, later in combinations(there, 2)]
        family = [effect(paired(there[a], there[b])) for a, b in pairs]
        corrected = holm([found.p if found else None for found in family])
        for (a, b), found, p in zip(pairs, family, corrected, strict=True):
            numbers = (
                {"effect": found.value, "low": found.low, "high": found.high, "p": found.p,
                 "masks": found.masks, "runs": found.runs, "reason": found.reason}
                if found
                else {"reason": "no run that both have"}
            )  # fmt: skip
            rows.append(
                {"model": place.model, "sparsity": place.sparsity, "task": place.task,
                 "a": a, "b": b, **numbers, "p_holm": p,
                 "n_expected": paired(asked[a], asked[b]).values.size}
            )  # fmt: skip
    return pl.DataFrame(rows, schema=_SCHEMA)


def cells(runs: pl.DataFrame, value: str = "score") -> dict[tuple[int | None, int | None], float]:
    """Return the value of each (mask seed, fine-tuning seed); a missing run is not there."""
    columns = ["mask_seed", "seed" if "seed" in runs.columns else pl.lit(None).alias("seed"), value]
    found = runs.drop_nulls(value).select(columns)
    return {(mask, seed): score for mask, seed, score in found.iter_rows()}
