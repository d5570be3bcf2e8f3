"""Pre-training loss against downstream score at each sparsity (Fig. 5, 12, 13)."""

import math

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tamt_ray.analysis.figures.layout import (
    GREY,
    LOSS_NAMES,
    columns_for,
    distinct,
    method_handles,
    new_sheet,
    percent,
    style,
)
from tamt_ray.analysis.figures.palette import Look, method_styles
from tamt_ray.analysis.figures.panels import title_of
from tamt_ray.analysis.figures.point_grid import Cells, Mark, draw_marks
from tamt_ray.analysis.stats.averages import AVERAGE, FIVE_AVERAGE
from tamt_ray.analysis.stats.bootstrap import Array
from tamt_ray.analysis.stats.correlation import LOSSES, interval_words
from tamt_ray.plan.expand import DENSE

_FAR = 2.5
"""How often wider a panel may become for the sake of one method."""


def losses_by_sparsity(
    points: pl.DataFrame,
    correlations: pl.DataFrame,
    task: str,
    published: pl.DataFrame | None = None,
) -> Figure:
    """Score of `task` over MLM and, below, over KD loss, a column a sparsity; one model's points.

    Colour and shape are the method, small markers are checkpoints, the star is the dense model.
    Over a panel Pearson's r of its subnetworks. `published` (method, sparsity, avg_low,
    avg_high, mlm_loss_low, …) is drawn beside them as faint boxes.
    """
    points = points.filter(pl.col("task") == task)
    correlations = correlations.filter(pl.col("task") == task)
    methods, sparsities = distinct(points, "method"), _sparsities(points)
    looks = method_styles(methods)
    columns = columns_for(len(sparsities))
    handles = method_handles(methods)
    if points["checkpoint"].count():
        handles.append(_note("small: checkpoints", "o", 4))
    if published is not None:
        handles.append(_note("boxes: published", "s", 10))
    with style():
        sheet = new_sheet(
            {"": len(sparsities)}, columns, handles, high=len(LOSSES), panel=(2.6, 1.9), named=False
        )
        for number, (sparsity, panels) in enumerate(zip(sparsities, sheet.panels[""], strict=True)):
            level = pl.col("sparsity") == sparsity
            for loss, axes in zip(LOSSES, panels, strict=True):
                if published is not None:
                    _draw_published(axes, published.filter(level), loss, looks)
                _draw_cloud(axes, points.filter(_beside(sparsity)), loss, looks)
                words = _words(correlations.filter(level), loss)
                axes.set_title(words, fontsize=9, loc="right")
                # As many lines as on the right, so that both begin at one height.
                name = percent(sparsity) + "\n" * words.count("\n")
                axes.set_title(name, fontweight="bold", loc="left")
                axes.set_xlabel(LOSS_NAMES[loss])
                if number % columns == 0:
                    axes.set_ylabel(f"{title_of(task)} (%)")
        return sheet.figure


def losses_by_task(points: pl.DataFrame, correlations: pl.DataFrame, loss: str) -> Figure:
    """Score of every task over one loss: a row a task, a column a sparsity; one model's points."""
    points = points.filter(~pl.col("task").is_in([AVERAGE, FIVE_AVERAGE]))
    tasks, methods = distinct(points, "task"), distinct(points, "method")
    sparsities = _sparsities(points)
    looks = method_styles(methods)
    cells = Cells(len(tasks), len(sparsities), method_handles(methods))
    for column, sparsity in enumerate(sparsities):
        for row, task in enumerate(tasks):
            here = points.filter(_beside(sparsity), pl.col("task") == task)
            clouds, away = _clouds(here, loss, looks)
            for mark, cloud in clouds:
                small = mark._replace(size=0.7 * mark.size)
                cells.add(row, column, small, _floats(cloud, loss), _floats(cloud, "score"))
            if away:
                cells.note(row, column, *away)
            level = correlations.filter(pl.col("task") == task, pl.col("sparsity") == sparsity)
            cells.title(row, column, _words(level, loss, short=True))
    with style():
        return cells.figure(
            [f"{task} (%)" for task in tasks], list(map(percent, sparsities)), LOSS_NAMES[loss]
        )


def _sparsities(points: pl.DataFrame) -> list[float]:
    return points.filter(pl.col("method") != DENSE)["sparsity"].unique().sort().to_list()


def _beside(sparsity: float) -> pl.Expr:
    """The subnetworks of one sparsity, and the dense model for comparison."""
    return (pl.col("sparsity") == sparsity) | (pl.col("method") == DENSE)


def _clouds(
    points: pl.DataFrame, loss: str, looks: dict[str, Look]
) -> tuple[list[tuple[Mark, pl.DataFrame]], tuple[str, str] | None]:
    """The points by how they are drawn, and in words, with their colour, those left out for being
    far away."""
    points = points.drop_nulls(["score", loss])
    outside = _outlier(points, loss)
    clouds: list[tuple[Mark, pl.DataFrame]] = []
    for (method, main, whole), group in points.filter(
        pl.col("method") != (outside or "")
    ).group_by(
        "method",
        pl.col("checkpoint").is_null().alias("main"),
        (pl.col("runs") == pl.col("runs_expected")).alias("whole"),
        maintain_order=True,
    ):  # fmt: skip
        size = 12 if method == DENSE else 7 if main else 4
        alpha, layer = (0.95, 1) if main else (0.7, 0)
        clouds.append((Mark(*looks[str(method)], size, not whole, alpha, layer), group))
    if outside is None:
        return clouds, None
    away = points.filter(pl.col("method") == outside)
    score, at = (float(_floats(away, name).mean()) for name in ("score", loss))
    return clouds, (f"{outside}: {score:.0f} % at {at:.2g}", looks[outside][0])


def _draw_cloud(axes: Axes, points: pl.DataFrame, loss: str, looks: dict[str, Look]) -> None:
    clouds, away = _clouds(points, loss, looks)
    for mark, cloud in clouds:
        draw_marks(axes, mark, _floats(cloud, loss), _floats(cloud, "score"))
    axes.grid(color="#e4e4e4", linewidth=0.5)
    axes.margins(0.08)
    if away:
        words, colour = away
        low, high = axes.get_ylim()
        axes.set_ylim(low - 0.12 * (high - low), high)
        axes.text(0.03, 0.04, words, transform=axes.transAxes, color=colour)


def _outlier(points: pl.DataFrame, loss: str) -> str | None:
    """The method so far from all others that they would shrink to a dot beside it."""
    stretched: dict[str, float] = {}
    for method in distinct(points, "method"):
        others = points.filter(pl.col("method") != method)
        if others["method"].n_unique() > 2:
            stretched[method] = max(
                _span(points, name) / (_span(others, name) or math.inf) for name in ("score", loss)
            )
    worst = max(stretched, key=stretched.__getitem__, default="")
    return worst if stretched.get(worst, 0) > _FAR else None


def _span(points: pl.DataFrame, name: str) -> float:
    return float(np.ptp(_floats(points, name)))


def _floats(points: pl.DataFrame, name: str) -> Array:
    return points[name].to_numpy()


def _draw_published(axes: Axes, published: pl.DataFrame, loss: str, looks: dict[str, Look]) -> None:
    for row in published.filter(pl.col("method").is_in(list(looks))).iter_rows(named=True):
        colour = looks[row["method"]][0]
        left, right = row[f"{loss}_low"], row[f"{loss}_high"]
        low, high = row["avg_low"], row["avg_high"]
        # A box without width or height would not be seen but for its corners.
        flat = left == right or low == high
        axes.fill([left, right, right, left], [low, low, high, high], color=colour, alpha=0.12,
                  linewidth=0, zorder=0)  # fmt: skip
        axes.plot(
            [left, right, right, left, left], [low, low, high, high, low], color=colour,
            alpha=0.4, linewidth=1.5, marker="s" if flat else None, markersize=4, zorder=1,
        )  # fmt: skip


def _words(correlations: pl.DataFrame, loss: str, *, short: bool = False) -> str:
    """Pearson's r over the subnetworks of a panel, behind it that without random masks; of both
    only the last where the words are `short`."""
    rows = correlations.filter(pl.col("loss") == loss, pl.col("statistic") == "pearson")
    found = {row["scope"]: row for row in rows.to_dicts() if row["value"] is not None}
    words = {
        scope: f"r {row['value']:.2f} {'' if short else interval_words(row)}".rstrip()
        for scope, row in found.items()
    }
    if short:
        return _minus(words.get("chosen") or words.get("sparsity", ""))
    lines = [words.get("sparsity", "no correlation")]
    if "chosen" in words:
        lines.append(f"without random {words['chosen']}")
    return _minus("\n".join(lines))


def _minus(words: str) -> str:
    return words.replace("-", "\N{MINUS SIGN}")


def _note(words: str, marker: str, size: float) -> Line2D:
    return Line2D(
        [], [], linestyle="none", marker=marker, markersize=size, markerfacecolor="none",
        color=GREY, label=words,
    )  # fmt: skip
