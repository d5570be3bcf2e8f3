"""How far masks are from OMP's after how long a search (Fig. 8)."""

import polars as pl

from tamt_ray.analysis.stats.effect import design, effect

_PLACE = ["model", "sparsity", "method", "mask_seed", "checkpoint"]


def drift(distances: pl.DataFrame, searches: pl.DataFrame, omp: str) -> pl.DataFrame:
    """A row for each (model, sparsity, method, iterations) of trained masks, rising.

    `mean`: 1 − Jaccard to the mask of the method called `omp`, mean over mask seeds; `low` to
    `high`: its 95 % interval, null with one mask. `missing`: always 0.
    """
    sides = [
        distances.filter(pl.col(f"method_{ours}") == omp).select(
            "model", "sparsity", "macro", method=f"method_{other}", mask_seed=f"seed_{other}",
            checkpoint=f"checkpoint_{other}",
        )
        for ours, other in (("a", "b"), ("b", "a"))
    ]  # fmt: skip
    each = pl.concat(sides).join(
        searches.select(*_PLACE, "iterations"), on=_PLACE, how="left", nulls_equal=True
    )
    keys = ["model", "sparsity", "method", "iterations"]
    rows: list[tuple[object, ...]] = []
    for key, group in (
        each.filter(pl.col("iterations") > 0).sort(keys).group_by(keys, maintain_order=True)
    ):
        found = effect(design({(seed, None): d for seed, d in group["mask_seed", "macro"].rows()}))
        if found:
            rows.append((*key, found.value, found.low, found.high, 0))
    schema = {name: each.schema[name] for name in keys}
    values = {"mean": pl.Float64, "low": pl.Float64, "high": pl.Float64, "missing": pl.Int64}
    return pl.DataFrame(rows, schema={**schema, **values}, orient="row")
