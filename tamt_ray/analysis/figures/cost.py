"""Downstream score against what the search took (Fig. 6, 7, 14–16)."""

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tamt_ray.analysis.figures.layout import (
    GREY,
    columns_for,
    distinct,
    method_handles,
    new_sheet,
    percent,
    style,
    thousands,
)
from tamt_ray.analysis.figures.palette import Dashes, Look, method_styles
from tamt_ray.analysis.figures.panels import column, draw_level, draw_line, frame_scores, title_of
from tamt_ray.analysis.stats.averages import AVERAGE, FIVE_AVERAGE
from tamt_ray.analysis.stats.trajectories import searched_lengths

_COSTS = ("iterations", "seconds")
_DOTS: Dashes = (0, (1.5, 1.5))


def search_cost(trajectories: pl.DataFrame, task: str, omp: str | None = None) -> Figure:
    """Score of `task` over iterations and, below, over seconds; a block a model, a column a
    sparsity with masks of several lengths, a line a method, the method called `omp` a level."""
    lengths = searched_lengths(trajectories.filter(pl.col("task") == task))
    chosen = trajectories.filter(pl.col("task") == task)
    columns = {
        model: {
            percent(sparsity): chosen.filter(_at(model, sparsity))
            for sparsity in sorted(lengths.filter(pl.col("model") == model)["sparsity"])
        }
        for model in distinct(lengths, "model")
    }
    return _over_cost(columns, f"{title_of(task)} (%)", omp)


def search_cost_by_task(
    trajectories: pl.DataFrame, sparsity: float, omp: str | None = None
) -> Figure:
    """As `search_cost` at one sparsity, a column a task."""
    rows = trajectories.filter(
        pl.col("sparsity") == sparsity, ~pl.col("task").is_in([AVERAGE, FIVE_AVERAGE])
    )
    columns: dict[str, dict[str, pl.DataFrame]] = {}
    for (model, task), each in rows.group_by("model", "task", maintain_order=True):
        if searched_lengths(each).height:
            columns.setdefault(str(model), {})[str(task)] = each
    return _over_cost(columns, "score (%)", omp)


def initialisation(
    trajectories: pl.DataFrame, task: str, pairs: Mapping[str, tuple[str, str]]
) -> Figure:
    """Score of `task` over iterations for scores that start from OMP (solid) and from a random
    mask (dashed), a panel for each (model, sparsity).

    `pairs`: by objective, the names of the two methods.
    """
    named = {name for pair in pairs.values() for name in pair}
    rows = trajectories.filter(pl.col("task") == task, pl.col("method").is_in(named))
    looks = method_styles(list(pairs))
    dashes: tuple[Dashes, Dashes] = ("-", (0, (4, 2)))
    lengths = searched_lengths(rows)
    sparsities = {
        model: sorted(lengths.filter(pl.col("model") == model)["sparsity"])
        for model in distinct(lengths, "model")
    }
    columns = columns_for(max(map(len, sparsities.values())))
    starts = zip(("scores from OMP", "from a random mask"), dashes, strict=True)
    lines = [Line2D([], [], color=GREY, linestyle=line, label=words) for words, line in starts]
    handles = [*method_handles(list(pairs)), *lines]
    with style():
        counts = {model: len(found) for model, found in sparsities.items()}
        sheet = new_sheet(counts, columns, handles)
        for model, found in sheet.panels.items():
            for number, ((axes,), sparsity) in enumerate(
                zip(found, sparsities[model], strict=True)
            ):  # fmt: skip
                here = rows.filter(_at(model, sparsity))
                for objective, pair in pairs.items():
                    colour, marker = looks[objective]
                    for name, line in zip(pair, dashes, strict=True):
                        part = here.filter(pl.col("method") == name)
                        draw_line(axes, column(part, "iterations"), part, colour, marker, line)
                _finish(axes, "iterations", here)
                axes.set_title(percent(sparsity), fontweight="bold")
                if number % columns == 0:
                    axes.set_ylabel(f"{title_of(task)} (%)")
        return sheet.figure


def _at(model: str, sparsity: float) -> pl.Expr:
    return (pl.col("model") == model) & (pl.col("sparsity") == sparsity)


def _over_cost(
    blocks: Mapping[str, Mapping[str, pl.DataFrame]], ylabel: str, omp: str | None
) -> Figure:
    """For each model and title the score over both costs."""
    every = pl.concat([rows for parts in blocks.values() for rows in parts.values()])
    methods = distinct(every.filter(pl.col("iterations") > 0), "method")
    looks = method_styles([*methods, *([omp] if omp else [])])
    handles = method_handles(methods)
    if omp:
        colour, _ = looks[omp]
        handles.append(Line2D([], [], color=colour, linestyle=_DOTS, label=f"{omp}, no search"))
    columns = columns_for(max(map(len, blocks.values())))
    with style():
        counts = {model: len(parts) for model, parts in blocks.items()}
        sheet = new_sheet(counts, columns, handles, high=len(_COSTS))
        for model, found in sheet.panels.items():
            parts = zip(blocks[model].items(), found, strict=True)
            for number, ((title, rows), panels) in enumerate(parts):
                for cost, axes in zip(_COSTS, panels, strict=True):
                    _draw(axes, rows, cost, methods, looks)
                    if omp:
                        _draw_omp(axes, rows, cost, omp, looks[omp][0])
                    _finish(axes, cost, rows)
                    if number % columns == 0:
                        axes.set_ylabel(ylabel)
                panels[0].set_title(title, fontweight="bold")
        return sheet.figure


def _draw(
    axes: Axes, rows: pl.DataFrame, cost: str, methods: Sequence[str], looks: Mapping[str, Look]
) -> None:
    for method in methods:
        colour, marker = looks[method]
        part = rows.filter(pl.col("method") == method, pl.col("iterations") > 0)
        draw_line(axes, column(part, cost), part, colour, marker, size=4.5)


def _draw_omp(axes: Axes, rows: pl.DataFrame, cost: str, omp: str, colour: str) -> None:
    span = rows[cost].drop_nulls().to_numpy()
    for row in rows.filter(pl.col("method") == omp).partition_by("method"):
        draw_level(axes, row, colour, span, _DOTS)


def _finish(axes: Axes, cost: str, rows: pl.DataFrame) -> None:
    frame_scores(axes, rows)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_xlim(0, axes.get_xlim()[1])
    axes.xaxis.set_major_formatter(thousands)
    words = "search iterations"
    if cost == "seconds":
        named = rows["devices"].drop_nulls().unique().to_list()
        devices = sorted({name for text in named for name in text.split("; ") if name})
        words = "search time (s)" + (f" on {'; '.join(devices)}" if devices else "")
    axes.set_xlabel(words)
