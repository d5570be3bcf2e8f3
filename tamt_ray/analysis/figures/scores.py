"""Downstream scores of every method (Fig. 1, 3, 4, 9, 10, 11)."""

from collections.abc import Iterator, Mapping

import polars as pl

from tamt_ray.analysis.figures.marks import dots, line_panel
from tamt_ray.analysis.figures.vega import Figure, Spec, distinct, grid, looks_of
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.roles import roles
from tamt_ray.analysis.stats.averages import averages, runs, title_of
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.analysis.words import percent
from tamt_ray.methods.base import Look
from tamt_ray.plan.expand import DENSE

LOSS_NAMES = {"mlm_loss": "MLM loss (nats)", "kd_loss": "KD loss (cosine distance)"}
BANDS = (
    "Bands: 95 % intervals of the mean over mask seeds and fine-tuning seeds (Student's t); none "
    "where there is one seed of either. Hollow: some runs are missing. Dotted: the best constant "
    "answer."
)


def main_results(data: ReportData) -> Iterator[Figure]:
    """Yield the score of every method: over sparsity, or with one sparsity as dots."""
    if not data.tasks:
        return
    table = _in_percent(data.averages)
    looks = looks_of(data, table)
    over = table.filter(pl.col("method") != DENSE)["sparsity"].n_unique() > 1
    panels = [
        (model,
         _over_sparsity(task, here, looks)
         if over
         else dots(title_of(task), here, data.runs.filter(model=model, task=task), looks))
        for model in distinct(table, "model")
        for task in data.tasks
        if (here := table.filter(model=model, task=task)).height
    ]  # fmt: skip
    form = (
        "Score over the share of weights removed, one colour per method."
        if over
        else "One row per method: the mean, its interval, and single runs where there are several."
    )
    yield Figure(
        "main_results", "Fig. 3, 4", "Downstream score of every method",
        f"{form} Dashed: the dense model. {BANDS}", grid(panels),
    )  # fmt: skip


def pruning_alone(data: ReportData) -> Iterator[Figure]:
    """Yield scores and both losses of random and one-shot pruning over sparsity."""
    names = roles(data.sweep)
    alone = [names[method] for method in ("random", "omp") if method in names]
    if len(data.sweep.sparsities) < 2 or len(alone) < 2 or not data.tasks:
        return
    shown = pl.col("method").is_in([DENSE, *alone])
    table, losses = _in_percent(data.averages.filter(shown)), _in_percent(data.losses.filter(shown))
    looks = looks_of(data, losses)
    panels: list[tuple[str, Spec]] = []
    for model in distinct(losses, "model"):
        found = [
            _over_sparsity(task, table.filter(model=model, task=task), looks) for task in data.tasks
        ]
        for loss in reversed(LOSSES):
            std = pl.col(loss.replace("_loss", "_std"))
            rows = losses.filter(model=model).with_columns(
                mean=pl.col(loss), low=pl.col(loss) - std, high=pl.col(loss) + std,
                baseline=pl.lit(None, pl.Float64),
            )  # fmt: skip
            found.insert(1, _over_sparsity(LOSS_NAMES[loss], rows, looks, "loss"))
        panels += [(model, panel) for panel in found]
    yield Figure(
        "pruning_alone", "Fig. 1, 10", "One-shot and random pruning",
        "Downstream score and both pre-training losses over the share of weights removed, without "
        f"any search. Dashed: the dense model. {BANDS} Bands of losses: one standard deviation "
        "over masks.",
        grid(panels),
    )  # fmt: skip


def models_compared(data: ReportData) -> Iterator[Figure]:
    """Yield one-shot pruning of every model, distinguished by dashes."""
    omp, over = roles(data.sweep).get("omp"), len(data.sweep.sparsities) > 1
    if not omp or not over or len(data.sweep.models) < 2 or not data.tasks:
        return
    table = _in_percent(data.averages.filter(pl.col("method").is_in([DENSE, omp])))
    models = distinct(table, "model")
    panels = [
        ("", line_panel(title_of(task), table.filter(task=task), "percent", looks_of(data, table),
                        x_title="sparsity (%)", dash="model", dashes=models))
        for task in data.tasks
    ]  # fmt: skip
    yield Figure(
        "models_compared", "Fig. 11", "How well models bear one-shot pruning",
        "The dense model and one-shot magnitude pruning over the share of weights removed, one "
        f"kind of line per model. {BANDS}",
        grid(panels),
    )  # fmt: skip


def training_sizes(data: ReportData) -> Iterator[Figure]:
    """Yield scores over the number of training examples, all of them at the right end."""
    each = runs(data.results.downstream, by="train_size")
    if each["score"].drop_nulls().is_empty() or not each["train_size"].count():
        return
    group = ["model", "method", "sparsity", "task"]
    rows = averages(each, by=("train_size",)).filter(pl.col("train_size").count().over(group) > 0)
    sizes = [*map(_short, rows["train_size"].drop_nulls().unique().sort()), "all"]
    rows = rows.with_columns(
        size=pl.col("train_size").map_elements(_short, pl.String).fill_null("all")
    ).sort("train_size", nulls_last=True, maintain_order=True)
    panels = [
        (model, line_panel(f"{task}, {percent(sparsity)}",
                           rows.filter(level, model=model, task=task), "size", looks_of(data, rows),
                           x_title="training examples", levels=(), ticks=sizes))
        for model in distinct(rows, "model")
        for sparsity in rows.filter(pl.col("method") != DENSE)["sparsity"].unique().sort()
        for level in [(pl.col("sparsity") == sparsity) | (pl.col("method") == DENSE)]
        for task in distinct(rows, "task")
    ]  # fmt: skip
    yield Figure(
        "training_sizes", "Fig. 9", "Scores on smaller training sets",
        "Score over the number of training examples, which stand side by side without a scale. "
        f"{BANDS}",
        grid(panels),
    )  # fmt: skip


def _over_sparsity(
    task: str, rows: pl.DataFrame, looks: Mapping[str, Look], y_title: str = "score (%)"
) -> Spec:
    return line_panel(
        title_of(task), rows, "percent", looks, x_title="sparsity (%)", y_title=y_title,
        ticks=rows.filter(pl.col("method") != DENSE)["percent"].unique().sort().to_list(),
    )  # fmt: skip


def _in_percent(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(percent=(pl.col("sparsity") * 100).round(6))


def _short(size: int) -> str:
    return f"{size // 1000}k" if size >= 1000 and size % 1000 == 0 else str(size)
