"""What pruning alone does, and how models bear it (Fig. 1, 10, 11)."""

from collections.abc import Sequence

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
    panel_tasks,
    style,
)
from tamt_ray.analysis.figures.palette import line_styles, method_styles
from tamt_ray.analysis.figures.panels import (
    column,
    draw_curves,
    draw_level,
    draw_line,
    frame_scores,
    title_of,
)
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.plan.expand import DENSE

_LOSS_STD = {"mlm_loss": "mlm_std", "kd_loss": "kd_std"}


def pruning_alone(averages: pl.DataFrame, losses: pl.DataFrame, methods: Sequence[str]) -> Figure:
    """Average score, MLM loss, KD loss and every task over sparsity, a block a model.

    Lines for `methods` and a dashed one for the dense model. Bands: 95 % intervals of
    scores, one standard deviation over masks of losses.
    """
    shown = [DENSE, *methods]
    averages = averages.filter(pl.col("method").is_in(shown))
    losses = losses.filter(pl.col("method").is_in(shown))
    models, tasks = distinct(losses, "model"), panel_tasks(averages)
    panels = [*tasks[:1], *LOSSES, *tasks[1:]]
    columns = min(5 if len(panels) > 8 else 4, len(panels))
    handles = method_handles(shown)
    with style():
        sheet = new_sheet(dict.fromkeys(models, len(panels)), columns, handles)
        for model, found in sheet.panels.items():
            here = pl.col("model") == model
            for (axes,), panel in zip(found, panels, strict=True):
                if panel in LOSSES:
                    _draw_losses(axes, losses.filter(here), panel, shown)
                    axes.set_title(LOSS_NAMES[panel], fontweight="bold")
                    continue
                chosen = averages.filter(here & (pl.col("task") == panel))
                draw_curves(axes, chosen, shown, label=False)
                axes.set_title(f"{title_of(panel)} (%)", fontweight="bold")
        return sheet.figure


def models_compared(averages: pl.DataFrame, methods: Sequence[str]) -> Figure:
    """Score over sparsity of `methods` and the dense model: colour is method, dashes are model."""
    shown = [DENSE, *methods]
    averages = averages.filter(pl.col("method").is_in(shown))
    models, tasks = distinct(averages, "model"), panel_tasks(averages)
    looks, dashes = method_styles(shown), line_styles(models)
    lines = [Line2D([], [], color=GREY, linestyle=dashes[name], label=name) for name in models]
    handles = [*method_handles(shown), *lines]
    with style():
        sheet = new_sheet({"": len(tasks)}, columns_for(len(tasks)), handles, named=False)
        for (axes,), task in zip(sheet.panels[""], tasks, strict=True):
            chosen = averages.filter(pl.col("task") == task)
            span = column(chosen.filter(pl.col("method") != DENSE), "sparsity") * 100
            for (model, method), part in chosen.group_by("model", "method", maintain_order=True):
                (colour, marker), line = looks[str(method)], dashes[str(model)]
                if method == DENSE:
                    draw_level(axes, part, colour, span, line)
                else:
                    each = part.sort("sparsity")
                    draw_line(axes, column(each, "sparsity") * 100, each, colour, marker, line)
            frame_scores(axes, chosen)
            axes.set_title(f"{title_of(task)} (%)", fontweight="bold")
            axes.set_xlabel("sparsity (%)")
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        return sheet.figure


def _draw_losses(axes: Axes, losses: pl.DataFrame, loss: str, methods: Sequence[str]) -> None:
    std = pl.col(_LOSS_STD[loss])
    rows = losses.select(
        "method", "sparsity", mean=pl.col(loss), low=pl.col(loss) - std, high=pl.col(loss) + std,
        missing=pl.col("n_expected") - pl.col("n"), baseline=pl.lit(None, pl.Float64),
    ).sort("sparsity", maintain_order=True)  # fmt: skip
    draw_curves(axes, rows, methods, label=False)
