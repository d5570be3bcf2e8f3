"""How the figures are laid out: one style, a block a model, panels in a grid."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from tamt_ray.analysis.figures.palette import method_styles
from tamt_ray.analysis.stats.averages import AVERAGE, FIVE_AVERAGE
from tamt_ray.plan.expand import DENSE

LOSS_NAMES = {"mlm_loss": "MLM loss (nats)", "kd_loss": "KD loss (cosine distance)"}
GREY = "#555555"

# Inches: the ticks' labels left of a panel, its ticks and title above the next, the label of the
# first column, a block's name, what is under a panel.
_BESIDE, _BETWEEN, _LEFT, _NAME, _UNDER, _NARROWEST = 0.6, 0.82, 0.25, 0.22, 0.47, 5.5


def style() -> AbstractContextManager[None]:
    """Fonts and lines of every figure, while it is made and while it is printed."""
    return mpl.rc_context(
        {
            "font.size": 10.5,
            "axes.titlesize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.hashsalt": "tamt_ray",
        }
    )


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; inches."""
    return Figure(figsize=(width, height), layout="constrained")


def distinct(table: pl.DataFrame, column: str) -> list[str]:
    """The names in a column, in the order in which they come first."""
    return table[column].unique(maintain_order=True).to_list()


def panel_tasks(table: pl.DataFrame) -> list[str]:
    """The tasks, led by their average where there are several."""
    tasks = [task for task in distinct(table, "task") if task not in (AVERAGE, FIVE_AVERAGE)]
    return [AVERAGE, *tasks] if len(tasks) > 1 else tasks


def blocks(figure: Figure, names: Sequence[str]) -> list[tuple[SubFigure, str]]:
    """A part of the figure for each name, one below the other, with the name over it."""
    if not names:
        return []
    found = figure.subfigures(len(names), 1, squeeze=False)[:, 0]
    parts: list[SubFigure] = list(found)
    for part, name in zip(parts, names, strict=True):
        part.suptitle(name, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return list(zip(parts, names, strict=True))


def places(
    block: Figure | SubFigure, rows: int, columns: int, count: int, *, large: bool = False
) -> list[Axes]:
    """`count` panels in reading order; a `large` first one takes two rows and two columns."""
    grid = block.add_gridspec(rows, columns)
    free = [(row, column) for row in range(rows) for column in range(columns)]
    if not large:
        return [block.add_subplot(grid[place]) for place in free[:count]]
    free = [place for place in free if place[0] > 1 or place[1] > 1]
    first = block.add_subplot(grid[0:2, 0:2])
    return [first, *(block.add_subplot(grid[place]) for place in free[: count - 1])]


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """The legend below everything, in as few rows as the width allows."""
    rows = legend_rows(handles, figure.get_figwidth())
    constrained = figure.get_layout_engine() is not None
    figure.legend(
        handles=list(handles), loc="outside lower center" if constrained else "lower center",
        frameon=False, columnspacing=1.2, handletextpad=0.4,
        ncols=max(1, math.ceil(len(handles) / max(1, rows))),
    )  # fmt: skip


def legend_rows(handles: Sequence[Line2D], width: float) -> int:
    """How many rows a legend needs in a figure of `width` inches."""
    # Inches: a marker with its gaps, and what a letter takes on average.
    wide = [0.5 + 0.1 * len(str(handle.get_label())) for handle in handles]

    def needed(rows: int) -> float:
        """Columns are filled one after the other, and each is as wide as its longest label."""
        return sum(max(wide[start : start + rows]) for start in range(0, len(wide), rows))

    fitting = (rows for rows in range(1, len(wide)) if needed(rows) <= width)
    return next(fitting, len(wide))


def columns_for(count: int) -> int:
    """In how many columns so many panels leave few gaps."""
    return count if count < 5 else 3 if count in (5, 6, 9) else 4


@dataclass(frozen=True)
class Sheet:
    """Equal panels in a grid whose places are known beforehand, which spares finding them."""

    figure: Figure
    panels: Mapping[str, list[list[Axes]]]
    """By block (a model): for each thing shown its panels, one below the other."""


def new_sheet(
    counts: Mapping[str, int],
    columns: int,
    handles: Sequence[Line2D],
    *,
    high: int = 1,
    panel: tuple[float, float] = (2.5, 1.9),
    named: bool = True,
) -> Sheet:
    """Blocks one below the other, each of so many things (`counts`) in rows of `columns`, each
    thing `high` panels of `panel` inches; names over the blocks where `named`, the legend below."""
    wide, tall = panel[0] + _BESIDE, panel[1] + _BETWEEN
    rows = {name: high * -(-count // columns) for name, count in counts.items()}
    head = _NAME if named else 0.0
    width = max(_NARROWEST, wide * columns + _LEFT)
    below = 0.1 + 0.27 * legend_rows(handles, width) if handles else 0.0
    height = sum(tall * number + head for number in rows.values()) + below + 0.15
    figure = Figure(figsize=(width, height))
    panels: dict[str, list[list[Axes]]] = {}
    top = height - 0.1
    for name, count in counts.items():
        if named:
            figure.text(
                0.12 / width, (top - 0.2) / height, name, fontsize=13, fontweight="bold"
            )  # fmt: skip
        top -= head
        panels[name] = []
        for thing in range(count):
            row, column = high * (thing // columns), thing % columns
            left = (_LEFT + wide * column + _BESIDE - 0.1) / width
            panels[name].append(
                [
                    figure.add_axes(
                        (left, (top - tall * (row + k + 1) + _UNDER) / height,
                         panel[0] / width, panel[1] / height)
                    )
                    for k in range(high)
                ]
            )  # fmt: skip
        top -= tall * rows[name]
    if handles:
        add_legend(figure, handles)
    return Sheet(figure, panels)


def method_handles(methods: Sequence[str], *, shapes: bool = True) -> list[Line2D]:
    """What a colour means; the marker too where it is the method's own (`shapes`)."""
    return [
        Line2D([], [], linestyle="none", color=colour, label=method,
               marker=marker if shapes or method == DENSE else "o",
               markersize=12 if method == DENSE else 8)
        for method, (colour, marker) in method_styles(methods).items()
    ]  # fmt: skip


def thousands(value: float, _: float) -> str:
    """A tick: 2.5k for 2500."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def percent(sparsity: float) -> str:
    """A sparsity over a panel."""
    return f"{sparsity * 100:.4g} %"
