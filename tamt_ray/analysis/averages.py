"""Averages over runs and over tasks, in percent; a missing run is counted, never filled in."""

import numpy as np
import polars as pl

from tamt_ray.analysis.bootstrap import DRAWS, SEED, mean_interval

AVERAGE = "(average)"
"""Stands for all tasks in a `task` column; the brackets keep it apart from any task's name."""

GROUP = ["model", "method", "sparsity", "task"]


def runs(downstream: pl.DataFrame) -> pl.DataFrame:
    """The score of each run in percent: (model, method, sparsity, mask_seed, seed, task).

    A run of task `AVERAGE` is the mean over all tasks under one (mask_seed, seed); it is null
    unless every task is present. `absent` lists the tasks without a record.
    """
    labels = ["model", "method", "sparsity", "mask_seed", "seed"]
    missing = pl.col("best").is_null()
    each = downstream.select(
        *labels,
        "task",
        score=pl.col("best") * 100,
        absent=pl.when(missing)
        .then(pl.concat_list("task"))
        .otherwise(pl.lit([], pl.List(pl.String))),
    )
    whole = (
        downstream.group_by(labels, maintain_order=True)
        .agg(
            task=pl.lit(AVERAGE),
            score=pl.when(~missing.any()).then(pl.col("best").mean() * 100),
            absent=pl.col("task").filter(missing),
        )
    )  # fmt: skip
    return pl.concat([each, whole.select(each.columns)])


def means(runs: pl.DataFrame) -> pl.DataFrame:
    """Mean and sample standard deviation over the runs present, a row for each `GROUP`.

    `std` is null below two runs. `n` of `n_expected` runs are present; `missing_tasks` says what
    is absent. Percent.
    """
    return runs.group_by(GROUP, maintain_order=True).agg(
        mean=pl.col("score").mean(),
        std=pl.col("score").std(ddof=1),
        n=pl.col("score").count().cast(pl.Int64),
        n_expected=pl.len().cast(pl.Int64),
        missing=pl.col("score").null_count().cast(pl.Int64),
        missing_tasks=pl.col("absent").explode(empty_as_null=False).unique().sort().str.join(", "),
    )


def averages(
    runs: pl.DataFrame, rng: np.random.Generator | None = None, draws: int = DRAWS
) -> pl.DataFrame:
    """`means` with a bootstrap 95 % interval of the mean, `low` to `high`, in percent.

    Null below two runs. Masks are resampled first and fine-tuning seeds within them; for OMP and
    the dense model, which have one mask, the interval covers the fine-tuning seeds alone.
    """
    rng = rng or np.random.default_rng(SEED)
    scores: dict[tuple[object, ...], dict[object, list[float]]] = {}
    for *key, mask, score in runs.select(*GROUP, "mask_seed", "score").iter_rows():
        masks = scores.setdefault(tuple(key), {})
        if score is not None:
            masks.setdefault(mask, []).append(score)
    rows: list[dict[str, object]] = []
    for key, masks in scores.items():
        found = mean_interval([np.array(group) for group in masks.values()], rng, draws)
        low, high = found or (None, None)
        rows.append({**dict(zip(GROUP, key, strict=True)), "low": low, "high": high})
    schema = {**{name: runs.schema[name] for name in GROUP}, "low": pl.Float64, "high": pl.Float64}
    intervals = pl.DataFrame(rows, schema=schema)
    return means(runs).join(intervals, on=GROUP, how="left", maintain_order="left")


def losses(pretrain: pl.DataFrame) -> pl.DataFrame:
    """Mean and standard deviation over masks of both pre-training losses, for each subnetwork.

    `mlm_loss` in nats a token, `kd_loss` a cosine distance; `n` of `n_expected` masks present.
    """
    return pretrain.group_by(GROUP[:3], maintain_order=True).agg(
        mlm_loss=pl.col("mlm_loss").mean(),
        mlm_std=pl.col("mlm_loss").std(ddof=1),
        kd_loss=pl.col("kd_loss").mean(),
        kd_std=pl.col("kd_loss").std(ddof=1),
        n=pl.col("mlm_loss").count().cast(pl.Int64),
        n_expected=pl.len().cast(pl.Int64),
    )
