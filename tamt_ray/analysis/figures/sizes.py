"""Score on smaller training sets (Fig. 9)."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tamt_ray.analysis.figures.layout import (
    distinct,
    method_handles,
    new_sheet,
    percent,
    style,
)
from tamt_ray.analysis.figures.palette import Look, method_styles
from tamt_ray.analysis.figures.panels import draw_line, frame_scores
from tamt_ray.plan.expand import DENSE

_GROUP = ["model", "method", "sparsity", "task"]


def training_sizes(averages: pl.DataFrame) -> Figure:
    """Score over the number of training examples, a panel for each (sparsity, task) with smaller
    sets, a block a model; the dense model in every panel.

    `averages` by `train_size`, null on all data, which is the rightmost point. Sizes stand side
    by side, without a scale.
    """
    rows = averages.filter(pl.col("train_size").count().over(_GROUP) > 0)
    models, methods = distinct(rows, "model"), distinct(rows, "method")
    tasks = distinct(rows, "task")
    pruned = rows.filter(pl.col("method") != DENSE)
    sparsities: list[float] = pruned["sparsity"].unique().sort().to_list()
    panels = [(sparsity, task) for sparsity in sparsities or [0.0] for task in tasks]
    columns = min(4, max(2, len(tasks)))
    looks = method_styles(methods)
    with style():
        sheet = new_sheet(
            dict.fromkeys(models, len(panels)), columns, method_handles(methods), panel=(2.5, 2.2)
        )
        for model, found in sheet.panels.items():
            for number, ((axes,), (sparsity, task)) in enumerate(zip(found, panels, strict=True)):
                level = (pl.col("sparsity") == sparsity) | (pl.col("method") == DENSE)
                _draw(axes, rows.filter(pl.col("model") == model, level, task=task), looks)
                axes.set_title(f"{task}, {percent(sparsity)}", fontweight="bold")
                if number % columns == 0:
                    axes.set_ylabel("score (%)")
        return sheet.figure


def _draw(axes: Axes, rows: pl.DataFrame, looks: dict[str, Look]) -> None:
    sizes: list[int] = rows["train_size"].drop_nulls().unique().sort().to_list()
    place = {size: number for number, size in enumerate([*sizes, None])}
    for (method,), part in rows.group_by("method", maintain_order=True):
        each = part.sort("train_size", nulls_last=True)
        x = np.array([place[size] for size in each["train_size"]], dtype=np.float64)
        colour, marker = looks[str(method)]
        dense = method == DENSE
        draw_line(axes, x, each, colour, marker, (0, (5, 3)) if dense else "-", 8 if dense else 5.5)
    frame_scores(axes, rows)
    axes.set_xticks(range(len(place)), [_short(size) for size in place])
    axes.set_xlabel("training examples")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)


def _short(size: int | None) -> str:
    if size is None:
        return "all"
    return f"{size // 1000}k" if size >= 1000 and size % 1000 == 0 else str(size)
