"""The figures of the report; no global state of pyplot, the same bytes for the same numbers."""

import io
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from tamt_ray.analysis.averages import AVERAGE
from tamt_ray.analysis.correlation import LOSSES
from tamt_ray.analysis.palette import method_styles, sparsity_markers
from tamt_ray.analysis.panels import (
    correlation_words,
    draw_curves,
    draw_dots,
    draw_scatter,
    title_of,
)
from tamt_ray.plan.expand import DENSE

_DPI = 110
_LOSS_NAMES = {"mlm_loss": "MLM loss (nats)", "kd_loss": "KD loss (cosine distance)"}


def main_results(averages: pl.DataFrame, runs: pl.DataFrame) -> Figure:
    """Score in percent of every method, a panel a task and their average, a block a model.

    Over sparsity: lines with bands of the bootstrap 95 % interval and the dense model as a
    horizontal line. With one sparsity: rows of means, intervals and single runs by method.
    """
    models = _distinct(averages, "model")
    methods = _distinct(averages, "method")
    tasks = _panels(averages)
    over = averages.filter(pl.col("method") != DENSE)["sparsity"].n_unique() > 1
    columns = min(4, max(1, len(tasks)))
    # Beside many tasks the average takes the room of four panels.
    large = over and len(tasks) > 4
    rows = -(-(len(tasks) + 3 * large) // columns)
    height = max(2.6, 3.9 - 0.5 * (rows - 1)) if over else 0.9 + 0.5 * max(3, len(methods))
    with _style():
        figure = _figure(max(5.5, 3.1 * columns + 1.2), (height * rows + 0.4) * max(1, len(models)))
        for block, model in _blocks(figure, models):
            each = averages.filter(pl.col("model") == model)
            places = list(_places(block, rows, columns, len(tasks), large))
            for number, (axes, task) in enumerate(zip(places, tasks, strict=True)):
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
    models = _distinct(points, "model")
    methods = _distinct(points, "method")
    subnetworks = points.filter(pl.col("method") != DENSE)
    markers = sparsity_markers(subnetworks["sparsity"].to_list())
    tasks = _panels(points)[:1] if tasks is None else tasks
    columns = 2 if len(tasks) < 2 else 4
    rows = max(1, -(-2 * len(tasks) // columns))
    with _style():
        figure = _figure(
            8.6 if columns == 2 else 13, (3.9 * rows + 0.3) * max(1, len(models)) + 0.6
        )
        for block, model in _blocks(figure, models):
            panels = [(task, loss) for task in tasks for loss in LOSSES]
            for axes, (task, loss) in zip(
                _places(block, rows, columns, len(panels), False), panels, strict=True
            ):
                here = (pl.col("model") == model) & (pl.col("task") == task)
                draw_scatter(axes, points.filter(here), loss, methods, markers)
                words = correlation_words(correlations.filter(here & (pl.col("loss") == loss)))
                axes.set_title(words, fontsize=9.5, loc="left", y=1.0)
                axes.set_xlabel(_LOSS_NAMES[loss])
                axes.set_ylabel(f"{title_of(task)} (%)")
        _legends(figure, methods, markers)
        return figure


# A canvas prints after one drawing; `Figure.savefig` would draw everything twice.


def to_png(figure: Figure) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.set_dpi(_DPI)
    with _style():
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return _laid_out(figure, buffer)


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG with text as outlines, so that it looks the same everywhere."""
    buffer = io.BytesIO()
    with _style():
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return _laid_out(figure, buffer)


def _laid_out(figure: Figure, buffer: io.BytesIO) -> bytes:
    # The first drawing found the layout; it holds for all further ones.
    figure.set_layout_engine("none")
    return buffer.getvalue()


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context(
        {
            "font.size": 10.5,
            "axes.titlesize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.hashsalt": "tamt_ray",
        }
    )


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _distinct(table: pl.DataFrame, column: str) -> list[str]:
    return table[column].unique(maintain_order=True).to_list()


def _panels(table: pl.DataFrame) -> list[str]:
    """The tasks, led by their average where there are several."""
    tasks = [task for task in _distinct(table, "task") if task != AVERAGE]
    return [AVERAGE, *tasks] if len(tasks) > 1 else tasks


def _blocks(figure: Figure, models: Sequence[str]) -> list[tuple[SubFigure, str]]:
    if not models:
        return []
    found = figure.subfigures(len(models), 1, squeeze=False)[:, 0]
    blocks: list[SubFigure] = list(found)
    for block, model in zip(blocks, models, strict=True):
        block.suptitle(model, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return list(zip(blocks, models, strict=True))


def _places(block: SubFigure, rows: int, columns: int, count: int, large: bool) -> list[Axes]:
    """`count` panels in reading order; a `large` first one takes two rows and two columns."""
    grid = block.add_gridspec(rows, columns)
    free = [(row, column) for row in range(rows) for column in range(columns)]
    if not large:
        return [block.add_subplot(grid[place]) for place in free[:count]]
    free = [place for place in free if place[0] > 1 or place[1] > 1]
    first = block.add_subplot(grid[0:2, 0:2])
    return [first, *(block.add_subplot(grid[place]) for place in free[: count - 1])]


def _legends(figure: Figure, methods: Sequence[str], markers: dict[float, str]) -> None:
    styles = method_styles(methods)
    handles = [
        Line2D([], [], linestyle="none", color=styles[method][0], label=method,
               marker="*" if method == DENSE else "o", markersize=12 if method == DENSE else 8)
        for method in methods
    ]  # fmt: skip
    if len(markers) > 1:
        handles += [
            Line2D([], [], linestyle="none", marker=marker, color="#555555", markersize=7,
                   markerfacecolor="none", label=f"{sparsity:.0%}")
            for sparsity, marker in markers.items()
        ]  # fmt: skip
    # Inches: a marker with its gaps, and what a letter takes on average.
    wide = sum(0.5 + 0.085 * len(str(handle.get_label())) for handle in handles)
    rows = math.ceil(wide / figure.get_figwidth())
    figure.legend(
        handles=handles, loc="outside lower center", frameon=False, columnspacing=1.2,
        handletextpad=0.2, ncols=max(1, math.ceil(len(handles) / max(1, rows))),
    )  # fmt: skip
