"""The figures of the report; no global state of pyplot, the same bytes for the same numbers."""

import io
from collections.abc import Sequence

import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tamt_ray.analysis.figures.layout import (
    GREY,
    LOSS_NAMES,
    add_legend,
    blocks,
    distinct,
    method_handles,
    new_figure,
    panel_tasks,
    percent,
    places,
    style,
)
from tamt_ray.analysis.figures.palette import sparsity_markers
from tamt_ray.analysis.figures.panels import (
    correlation_words,
    draw_curves,
    draw_dots,
    draw_scatter,
    title_of,
)
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.plan.expand import DENSE

_DPI = 110


def main_results(averages: pl.DataFrame, runs: pl.DataFrame) -> Figure:
    """Score in percent of every method, a panel a task and their average, a block a model.

    Over sparsity: lines with bands of the 95 % interval and the dense model as a
    horizontal line. With one sparsity: rows of means, intervals and single runs by method.
    """
    models = distinct(averages, "model")
    methods = distinct(averages, "method")
    tasks = panel_tasks(averages)
    over = averages.filter(pl.col("method") != DENSE)["sparsity"].n_unique() > 1
    columns = min(4, max(1, len(tasks)))
    # Beside many tasks the average takes the room of four panels.
    large = over and len(tasks) > 4
    rows = -(-(len(tasks) + 3 * large) // columns)
    height = max(2.6, 3.9 - 0.5 * (rows - 1)) if over else 0.9 + 0.5 * max(3, len(methods))
    with style():
        figure = new_figure(
            max(5.5, 3.1 * columns + 1.2), (height * rows + 0.4) * max(1, len(models))
        )
        for block, model in blocks(figure, models):
            each = averages.filter(pl.col("model") == model)
            found = places(block, rows, columns, len(tasks), large=large)
            for number, (axes, task) in enumerate(zip(found, tasks, strict=True)):
                chosen = each.filter(pl.col("task") == task)
                if over:
                    draw_curves(axes, chosen, methods, label=number == 0)
                    axes.set_ylabel("score (%)" if number == 0 else "")
                else:
                    single = runs.filter((pl.col("model") == model) & (pl.col("task") == task))
                    draw_dots(axes, chosen, single, methods)
                    if number % columns:
                        axes.set_yticklabels([])
                axes.set_title(title_of(task), fontweight="bold", y=1.0)
        return figure


def pretraining_vs_downstream(
    points: pl.DataFrame, correlations: pl.DataFrame, tasks: Sequence[str] | None = None
) -> Figure:
    """Downstream score over MLM and over KD loss; colour is method, marker is sparsity.

    `tasks`: which panels; the average over tasks when left out. The title of a panel gives its
    correlations over all points, the dense model included, with bootstrap 95 % intervals.
    """
    models = distinct(points, "model")
    methods = distinct(points, "method")
    subnetworks = points.filter(pl.col("method") != DENSE)
    markers = sparsity_markers(subnetworks["sparsity"].to_list())
    tasks = panel_tasks(points)[:1] if tasks is None else tasks
    columns = 2 if len(tasks) < 2 else 4
    rows = max(1, -(-2 * len(tasks) // columns))
    with style():
        figure = new_figure(
            8.6 if columns == 2 else 13, (3.9 * rows + 0.3) * max(1, len(models)) + 0.6
        )
        for block, model in blocks(figure, models):
            panels = [(task, loss) for task in tasks for loss in LOSSES]
            for axes, (task, loss) in zip(
                places(block, rows, columns, len(panels)), panels, strict=True
            ):
                here = (pl.col("model") == model) & (pl.col("task") == task)
                draw_scatter(axes, points.filter(here), loss, methods, markers)
                words = correlation_words(correlations.filter(here & (pl.col("loss") == loss)))
                axes.set_title(words, fontsize=9.5, loc="left", y=1.0)
                axes.set_xlabel(LOSS_NAMES[loss])
                axes.set_ylabel(f"{title_of(task)} (%)")
        shapes = [
            Line2D([], [], linestyle="none", marker=marker, color=GREY, markersize=7,
                   markerfacecolor="none", label=percent(sparsity))
            for sparsity, marker in markers.items()
        ]  # fmt: skip
        handles = method_handles(methods, shapes=False)
        add_legend(figure, [*handles, *(shapes if len(markers) > 1 else [])])
        return figure


# A canvas prints after one drawing; `Figure.savefig` would draw everything twice.


def to_png(figure: Figure) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.set_dpi(_DPI)
    with style():
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return _laid_out(figure, buffer)


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG with text as outlines, so that it looks the same everywhere."""
    buffer = io.BytesIO()
    with style():
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return _laid_out(figure, buffer)


def _laid_out(figure: Figure, buffer: io.BytesIO) -> bytes:
    # The first drawing found the layout; it holds for all further ones.
    figure.set_layout_engine("none")
    return buffer.getvalue()
