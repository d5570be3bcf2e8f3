"""How good a mask is after how long a search (Fig. 6, 7, 14–16)."""

import polars as pl

from tamt_ray.analysis.results import Results
from tamt_ray.analysis.stats.averages import averages, runs
from tamt_ray.plan.expand import DENSE

_POINT = ["model", "method", "sparsity", "checkpoint"]


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
