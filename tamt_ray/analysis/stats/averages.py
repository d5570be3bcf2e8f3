"""Averages over runs and over tasks, in percent; a missing run is counted, never filled in."""

from collections.abc import Mapping, Sequence

import polars as pl

from tamt_ray.analysis.results import main_rows
from tamt_ray.analysis.stats.comparison import cells
from tamt_ray.analysis.stats.effect import design, effect
from tamt_ray.tasks.base import Task, TaskRole

AVERAGE = "(average)"
"""Stands for all tasks in a `task` column; the brackets keep it apart from any task's name."""

GROUP = ["model", "method", "sparsity", "task"]

FIVE: tuple[TaskRole, ...] = ("cola", "sst2", "mnli", "stsb", "squad")
"""Roles of the tasks that the paper averages over where it looks into the search (Fig. 5)."""
FIVE_AVERAGE = "(average of five)"
"""Stands for `FIVE` in a `task` column, where a sweep has more tasks than these."""


_RECORDED = "baseline/"
"""Before the name of a metric: that of the best constant answer on the validation set."""
_CONSTANT = {"matthews": 0.0, "pearson": 0.0, "spearman": 0.0}
"""Metrics on which every constant answer has the same score, whatever the labels are."""


def title_of(task: str) -> str:
    """Return a task, or an average over tasks, in words."""
    return {AVERAGE: "average over tasks", FIVE_AVERAGE: "average over five tasks"}.get(task, task)


def leading_task(tasks: Mapping[str, Task]) -> str | None:
    """Return the task or average that the search is compared by (Fig. 5, 6); None without tasks."""
    if len(tasks) > len(FIVE) and {task.role for task in tasks.values()} >= set(FIVE):
        return FIVE_AVERAGE
    return AVERAGE if len(tasks) > 1 else next(iter(tasks), None)


def runs(downstream: pl.DataFrame, by: str | None = None) -> pl.DataFrame:
    """Return the score of each run in percent: (model, method, sparsity, mask_seed, seed, task).

    A run of task `AVERAGE` is the mean over all tasks of its model under one (mask_seed, seed);
    it is null unless every task has a record, and there is none where the plan leaves a task out.
    `absent` lists the tasks without a record. `baseline`: the score of the best constant answer
    (`baseline`), null where it is not known. The main results, or with `by`
    ("checkpoint" or "train_size") those beyond them as well, kept apart by that column; sizes have
    no averages, since they differ from task to task, checkpoints have that over `FIVE` too.
    """
    labels = ["model", "method", "sparsity", "mask_seed", "seed", *([by] if by else [])]
    rows = main_rows(downstream, [by] if by else ()).with_columns(baseline=baseline(downstream))
    missing = pl.col("best").is_null()
    found = [
        rows.select(
            *labels,
            "task",
            score=pl.col("best") * 100,
            baseline=pl.col("baseline") * 100,
            absent=pl.when(missing)
            .then(pl.concat_list("task"))
            .otherwise(pl.lit([], pl.List(pl.String))),
        )
    ]
    if by != "train_size":
        found.append(_over_tasks(rows, labels, AVERAGE))
    if (
        by == "checkpoint"
        and set(FIVE) <= set(rows["role"])
        and rows["task"].n_unique() > len(FIVE)
    ):
        found.append(_over_tasks(rows.filter(pl.col("role").is_in(FIVE)), labels, FIVE_AVERAGE))
    return pl.concat([part.select(found[0].columns) for part in found])


def _over_tasks(rows: pl.DataFrame, labels: Sequence[str], name: str) -> pl.DataFrame:
    missing = pl.col("best").is_null()
    tasks = rows.group_by("model").agg(tasks=pl.col("task").n_unique())
    return (
        rows.group_by(labels, maintain_order=True)
        .agg(
            task=pl.lit(name),
            score=pl.when(~missing.any()).then(pl.col("best").mean() * 100),
            baseline=pl.when(pl.col("baseline").is_not_null().all()).then(
                pl.col("baseline").mean() * 100
            ),
            absent=pl.col("task").filter(missing),
            found=pl.len(),
        )
        .join(tasks, on="model", maintain_order="left")
        .filter(pl.col("found") == (len(FIVE) if name == FIVE_AVERAGE else pl.col("tasks")))
    )


def means(runs: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Mean and sample standard deviation over the runs present, a row for each `GROUP` and `by`.

    `std` is null below two runs. `n` of `n_expected` runs are present; `missing_tasks` says what
    is absent; `baseline`: the score of the best constant answer. Percent.
    """
    return runs.group_by(*GROUP, *by, maintain_order=True).agg(
        mean=pl.col("score").mean(),
        std=pl.col("score").std(ddof=1),
        n=pl.col("score").count().cast(pl.Int64),
        n_expected=pl.len().cast(pl.Int64),
        missing=pl.col("score").null_count().cast(pl.Int64),
        baseline=pl.col("baseline").max(),
        missing_tasks=pl.col("absent").explode(empty_as_null=False).unique().sort().str.join(", "),
    )


def averages(runs: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """`means` with a 95 % interval of the mean (`effect.effect`), `low` to `high`, in percent.

    Null where one of the two kinds of seeds has a single value. For OMP and the dense model, which
    have one mask by definition, the interval covers the fine-tuning seeds alone.
    """
    group = [*GROUP, *by]
    rows: list[tuple[object, ...]] = []
    for key, part in runs.group_by(group, maintain_order=True):
        known, reach = effect(design(cells(part))), None
        if known and known.low is not None and known.high is not None:
            reach = (known.high - known.low) / 2
        rows.append((*key, reach))
    schema = {**{name: runs.schema[name] for name in group}, "reach": pl.Float64}
    reaches = pl.DataFrame(rows, schema=schema, orient="row")
    return (
        means(runs, by)
        .join(reaches, on=group, how="left", maintain_order="left", nulls_equal=True)
        .with_columns(low=pl.col("mean") - pl.col("reach"), high=pl.col("mean") + pl.col("reach"))
        .drop("reach")
    )


PERCENT = ("mean", "std", "low", "high", "baseline", "effect", "target")
"""Columns of averages, differences and search costs that are in percent before `fractions`."""


def fractions(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table of averages, differences or search costs with its percent as fractions, as
    everything is that a program reads."""
    return table.with_columns(pl.col(name) / 100 for name in PERCENT if name in table.columns)


def losses(pretrain: pl.DataFrame) -> pl.DataFrame:
    """Mean and standard deviation over masks of both pre-training losses, for each subnetwork.

    `mlm_loss` in nats a token, `kd_loss` a cosine distance; `n` of `n_expected` masks present.
    The main results, without checkpoints.
    """
    return (
        main_rows(pretrain)
        .group_by(GROUP[:3], maintain_order=True)
        .agg(
            mlm_loss=pl.col("mlm_loss").mean(),
            mlm_std=pl.col("mlm_loss").std(ddof=1),
            kd_loss=pl.col("kd_loss").mean(),
            kd_std=pl.col("kd_loss").std(ddof=1),
            n=pl.col("mlm_loss").count().cast(pl.Int64),
            n_expected=pl.len().cast(pl.Int64),
        )
    )


def baseline(downstream: pl.DataFrame) -> pl.Expr:
    """Return the score of the best constant answer on the headline metric of each row, as a
    fraction.

    From the column `baseline/<metric>`, which a fine-tune records; correlations have 0 without
    it. Null where it is not known.
    """
    found = pl.lit(None, pl.Float64)
    for metric, score in _CONSTANT.items():
        found = pl.when(pl.col("metric") == metric).then(score).otherwise(found)
    for name in downstream.columns:
        if name.startswith(_RECORDED):
            here = (pl.col("metric") == name.removeprefix(_RECORDED)) & pl.col(name).is_not_null()
            found = pl.when(here).then(pl.col(name)).otherwise(found)
    return found


def no_better(row: Mapping[str, float | str | None]) -> bool:
    """Return whether the `mean` of a row of `averages.means` is at or below its `baseline`."""
    mean, least = row["mean"], row["baseline"]
    return isinstance(mean, float) and isinstance(least, float) and mean <= least + 1e-9


def optimism(downstream: pl.DataFrame) -> pl.DataFrame:
    """Return a row per model and task, in points.

    `mean`: how much higher scores are where the best evaluation is chosen on all examples than
    where it is chosen on the other half, mean over `n` fine-tunes of `n_expected`; `least` to
    `most`: the same per method, since only a gain that differs between methods moves a comparison.
    The others were fine-tuned before predictions were kept, or are not done.
    """
    by_method = downstream.group_by("model", "task", "method", maintain_order=True).agg(
        points=pl.col("optimism").mean() * 100
    )
    spread = by_method.group_by("model", "task", maintain_order=True).agg(
        least=pl.col("points").min(), most=pl.col("points").max()
    )
    whole = downstream.group_by("model", "task", maintain_order=True).agg(
        mean=pl.col("optimism").mean() * 100,
        n=pl.col("optimism").count().cast(pl.Int64),
        n_expected=pl.len().cast(pl.Int64),
    )
    return whole.join(spread, on=["model", "task"], maintain_order="left")
