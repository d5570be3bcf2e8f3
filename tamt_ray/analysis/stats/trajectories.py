"""Scores, distances and losses over the length of a search (Fig. 6–8, 14–16)."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from tamt_ray.analysis.results import Results
from tamt_ray.analysis.stats.averages import averages, runs
from tamt_ray.analysis.stats.effect import Cells, design, effect
from tamt_ray.methods.base import Search
from tamt_ray.plan.expand import DENSE, Plan

_POINT = ["model", "method", "sparsity", "checkpoint"]
_CURVE = {
    "model": pl.String, "method": pl.String, "sparsity": pl.Float64, "mask_seed": pl.Int64,
    "step": pl.Int64, "name": pl.String, "value": pl.Float64,
}  # fmt: skip
MIN_TRAVEL = 10.0
"""Thresholds φ below which a mask can hardly leave its start.

Scores start at αφ and 0, 2 φ apart in the paper, and only weights whose scores cross φ change. The
paper's searches at 70 % have 59 φ (MLM) and 24 φ (KD).
"""


def trajectories(results: Results) -> pl.DataFrame:
    """`averages` of every search length, a row for each (model, method, sparsity, checkpoint,
    task), in plan order, then rising in `iterations`; without the dense model.

    Of the masks behind a row: `iterations`, optimiser steps; `seconds`, their mean training time;
    `devices`, where they were measured, joined by semicolons. What trains nothing stands at 0.
    """
    cost = results.pretrain.group_by(_POINT, maintain_order=True).agg(
        iterations=pl.col("iterations").first(),
        seconds=pl.col("search_seconds").mean(),
        devices=pl.col("device").drop_nulls().unique().sort().str.join("; "),
    )
    found = averages(
        runs(results.downstream, by="checkpoint").filter(pl.col("method") != DENSE),
        by=("checkpoint",),
    )
    costly = found.join(cost, on=_POINT, how="left", nulls_equal=True, maintain_order="left")
    searches = costly.partition_by("model", "method", "sparsity", maintain_order=True)
    risen = [rows.sort("iterations", maintain_order=True) for rows in searches]
    return pl.concat(risen) if risen else costly


def searched_lengths(trajectories: pl.DataFrame) -> pl.DataFrame:
    """(model, sparsity) where some method was searched for two lengths or more."""
    trained = trajectories.filter(pl.col("iterations") > 0)
    return (
        trained.group_by("model", "method", "sparsity", maintain_order=True)
        .agg(lengths=pl.col("iterations").n_unique())
        .filter(pl.col("lengths") > 1)
        .select("model", "sparsity")
        .unique(maintain_order=True)
    )


def per_doubling(curves: Mapping[int, Cells]) -> Cells:
    """Return the change of a value whenever the steps double, for each pair of seeds.

    The slope of the least-squares line over log2 of the steps, of seeds that have a value at all
    of them; empty with fewer than two lengths.
    """
    if len(curves) < 2:
        return {}
    x = np.log2(np.array([*curves], dtype=np.float64))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    points = list(curves.values())
    whole = set(points[0]).intersection(*points[1:])
    pairs = list(zip(weights, points, strict=True))
    return {seeds: float(sum(weight * each[seeds] for weight, each in pairs)) for seeds in whole}


def drift(distances: pl.DataFrame, searches: pl.DataFrame, omp: str) -> pl.DataFrame:
    """Return a row for each (model, sparsity, method, iterations) of trained masks, rising.

    `mean`: 1 − Jaccard to the mask of the method called `omp`, mean over mask seeds; `low` to
    `high`: its 95 % interval, null with one mask. `missing`: always 0.
    """
    place = ["model", "sparsity", "method", "mask_seed", "checkpoint"]
    sides = [
        distances.filter(pl.col(f"method_{ours}") == omp).select(
            "model", "sparsity", "macro", method=f"method_{other}", mask_seed=f"seed_{other}",
            checkpoint=f"checkpoint_{other}",
        )
        for ours, other in (("a", "b"), ("b", "a"))
    ]  # fmt: skip
    each = pl.concat(sides).join(
        searches.select(*place, "iterations"), on=place, how="left", nulls_equal=True
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


def search_curves(plan: Plan, histories: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return a row for each point: (model, method, sparsity, mask_seed, step, name, value).

    `histories`: by unit, the columns step, name, value of its `history.parquet`. The main results
    only: a checkpoint's curve is the beginning of theirs. Of an IMP mask it is the last level.
    """
    parts: list[pl.DataFrame] = []
    for cell, unit in plan.cells["search"].items():
        if unit in histories and cell.checkpoint is None:
            keys = [pl.lit(getattr(cell, key), _CURVE[key]).alias(key) for key in [*_CURVE][:4]]
            parts.append(histories[unit].select(*keys, "step", "name", "value"))
    return pl.concat(parts) if parts else pl.DataFrame(schema=_CURVE)


def travels(plan: Plan) -> dict[tuple[str, str, float], float]:
    """Return `Search.travel` of the final masks by (model, method, sparsity)."""
    found: dict[tuple[str, str, float], float] = {}
    for cell, unit in plan.cells["search"].items():
        config = plan.units[unit].config
        if isinstance(config, Search) and cell.checkpoint is None and config.travel is not None:
            found[cell.model, cell.method, cell.sparsity] = config.travel
    return found
