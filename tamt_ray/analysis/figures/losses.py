"""Pre-training loss against downstream score (Fig. 5, 12, 13)."""

from collections.abc import Iterator, Sequence

import polars as pl

from tamt_ray.analysis.figures.marks import cloud
from tamt_ray.analysis.figures.scores import LOSS_NAMES
from tamt_ray.analysis.figures.vega import Figure, distinct, grid, looks_of
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.stats.averages import leading_task, title_of
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.analysis.words import interval, number, percent
from tamt_ray.plan.expand import DENSE

MIN_POINTS = 10
"""Points below which a cloud shows little."""
_CAPTION = (
    "Each mark is a subnetwork: its loss on the pre-training validation text against its "
    "downstream score, mean over fine-tuning seeds. Small: masks kept at other search lengths; "
    "hollow: some runs are missing; black circle: the dense model; dotted: the best constant "
    "answer, where the panel reaches it. Over each panel Pearson's r of "
    "its subnetworks without the dense model, with its bootstrap 95 % interval"
)
_SYMBOLS = {"pearson": "r", "spearman": "ρ", "kendall": "τ"}


def losses_by_sparsity(data: ReportData) -> Iterator[Figure]:
    """Yield the headline score over both losses, a column per sparsity, for each model."""
    task = leading_task(data.sweep.tasks) or ""
    for place, (name, model, points) in enumerate(_models(data, "losses_by_sparsity")):
        chosen = points.filter(task=task)
        boxes = None if place else data.published
        looks = looks_of(data, chosen)
        panels = [
            (model, cloud(
                percent(sparsity), chosen.filter(_beside(sparsity)), loss, looks,
                x_title=LOSS_NAMES[loss], y_title=f"{title_of(task)} (%)",
                words=_words(data, model, task, sparsity, loss),
                boxes=None if boxes is None else boxes.filter(sparsity=sparsity),
            ))
            for loss in LOSSES
            for sparsity in _sparsities(points)
        ]  # fmt: skip
        beside = "" if boxes is None else " Boxes: published averages over five tasks."
        yield Figure(
            name, "Fig. 5", f"Pre-training losses against {title_of(task)}",
            f"{_CAPTION}, and r without random masks.{beside}",
            grid(panels, _columns(points)), _few(chosen),
        )  # fmt: skip


def mlm_loss_by_task(data: ReportData) -> Iterator[Figure]:
    """Yield each task's score over the MLM loss."""
    return _by_task(data, "mlm_loss", "Fig. 12")


def kd_loss_by_task(data: ReportData) -> Iterator[Figure]:
    """Yield each task's score over the KD loss."""
    return _by_task(data, "kd_loss", "Fig. 13")


def pretraining_vs_downstream(data: ReportData) -> Iterator[Figure]:
    """Yield the headline score over both losses, all sparsities in one panel."""
    if not data.tasks or len(data.sweep.sparsities) < 2:
        return
    task = data.tasks[0]
    points = data.points.filter(task=task).drop_nulls("score")
    panels = [
        (model, cloud(
            LOSS_NAMES[loss], points.filter(model=model), loss, looks_of(data, points),
            x_title=LOSS_NAMES[loss], y_title=f"{title_of(task)} (%)", by_sparsity=True,
            words=_pooled(data, model, task, loss), size=(420, 280),
        ))
        for model in distinct(points, "model")
        for loss in LOSSES
    ]  # fmt: skip
    yield Figure(
        "pretraining_vs_downstream", "", "Pre-training loss against downstream score",
        "All sparsities together: colour is the method, shape the sparsity. Over each panel "
        "Pearson's r, Spearman's ρ and Kendall's τ over all points with bootstrap 95 % intervals. "
        "Hollow: some runs are missing.",
        grid(panels, 2), _few(points),
    )  # fmt: skip


def _by_task(data: ReportData, loss: str, numbers: str) -> Iterator[Figure]:
    tasks = list(data.sweep.tasks)
    for name, model, points in _models(data, f"{loss}_by_task") if len(tasks) > 1 else ():
        looks = looks_of(data, points)
        panels = [
            (model, cloud(
                f"{task}, {percent(sparsity)}", points.filter(_beside(sparsity), task=task), loss,
                looks, x_title=LOSS_NAMES[loss], y_title=f"{task} (%)", size=(150, 120),
                words=_words(data, model, task, sparsity, loss, short=True),
            ))
            for task in tasks
            for sparsity in _sparsities(points)
        ]  # fmt: skip
        yield Figure(
            name, numbers, f"{LOSS_NAMES[loss]} against each task", f"{_CAPTION}.",
            grid(panels, _columns(points)), _few(points.filter(task=tasks[0])),
        )  # fmt: skip


def _models(data: ReportData, name: str) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Yield name of the figure, model and points of each model that has subnetworks with both."""
    points = data.points.drop_nulls("score")
    for model in data.sweep.models:
        here = points.filter(model=model)
        if here.filter(pl.col("method") != DENSE).height and data.tasks:
            yield (f"{name}_{model}" if len(data.sweep.models) > 1 else name), model, here


def _sparsities(points: pl.DataFrame) -> list[float]:
    return points.filter(pl.col("method") != DENSE)["sparsity"].unique().sort().to_list()


def _columns(points: pl.DataFrame) -> int:
    """Both losses side by side at one sparsity, one below the other at several."""
    count = len(_sparsities(points))
    return 4 if count == 1 else count


def _beside(sparsity: float) -> pl.Expr:
    """Return the subnetworks of one sparsity, and the dense model for comparison."""
    return (pl.col("sparsity") == sparsity) | (pl.col("method") == DENSE)


def _few(points: pl.DataFrame) -> str:
    count = points.filter(pl.col("method") != DENSE).height
    return f"{count} points" if count < MIN_POINTS else ""


def _words(
    data: ReportData, model: str, task: str, sparsity: float, loss: str, *, short: bool = False
) -> Sequence[str]:
    """Return Pearson's r over the subnetworks of a panel, and r without random masks."""
    rows = data.correlations.filter(
        model=model, task=task, sparsity=sparsity, loss=loss, statistic="pearson"
    ).drop_nulls("value")
    found = {row["scope"]: row for row in rows.iter_rows(named=True)}
    if not found:
        return ["no correlation"]
    return [
        f"{words}r {_coefficient(found[scope], short=short)}"
        for scope, words in (("sparsity", ""), ("chosen", "without random "))
        if scope in found
    ]


def _pooled(data: ReportData, model: str, task: str, loss: str) -> Sequence[str]:
    """Return the three coefficients over all points, or why there are none."""
    rows = data.correlations.filter(model=model, task=task, loss=loss, scope="all").to_dicts()
    if not rows or rows[0]["reason"]:
        return [f"no correlation: {rows[0]['reason']}"] if rows else []
    found = [f"{_SYMBOLS[row['statistic']]} {_coefficient(row)}" for row in rows]
    return [*found, f"n = {rows[0]['n']}"]


def _coefficient(row: dict[str, float | None], *, short: bool = False) -> str:
    reach = "" if short else interval(row["low"], row["high"], 2)
    return f"{number(row['value'] or 0.0, 2)} {reach}".rstrip()
