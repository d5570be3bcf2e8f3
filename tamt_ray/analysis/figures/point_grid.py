"""Many small plots as one: rows and columns of points that share a single pair of axes.

A hundred pairs of axes take seconds to make and to print; this takes a fraction of one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tamt_ray.analysis.figures.layout import add_legend, legend_rows
from tamt_ray.analysis.stats.bootstrap import Array

# Inches.
_WIDTH, _HEIGHT = 1.4, 1.15
_LEFT, _BELOW, _ABOVE, _BESIDE, _BETWEEN = 0.85, 0.55, 0.3, 0.42, 0.34
Extent = tuple[float, float]
_MARGIN, _NOTE = 0.08, 0.16
"""Shares of the span that stay empty around the points, and below them for a note."""


class Mark(NamedTuple):
    """How a point is drawn; size in points."""

    colour: str
    marker: str
    size: float
    hollow: bool
    alpha: float
    layer: int


def draw_marks(axes: Axes, mark: Mark, x: Array, y: Array) -> None:
    """Points [n] of one look."""
    axes.plot(
        x, y, linestyle="none", marker=mark.marker, markersize=mark.size, alpha=mark.alpha,
        markerfacecolor="white" if mark.hollow else mark.colour,
        markeredgecolor=mark.colour if mark.hollow else "white",
        markeredgewidth=1.0 if mark.hollow else 0.5, zorder=2 + mark.layer,
    )  # fmt: skip


class Cells:
    """Takes points and words cell by cell; `figure` draws them. Columns share their x."""

    def __init__(self, rows: int, columns: int, handles: Sequence[Line2D]) -> None:
        self._handles = handles
        self._shape = rows, columns
        self._points: dict[tuple[int, int], list[tuple[Mark, Array, Array]]] = {}
        self._titles: dict[tuple[int, int], str] = {}
        self._notes: dict[tuple[int, int], tuple[str, str]] = {}

    def add(self, row: int, column: int, mark: Mark, x: Array, y: Array) -> None:
        """Points [n] of one look."""
        self._points.setdefault((row, column), []).append((mark, x, y))

    def title(self, row: int, column: int, words: str) -> None:
        """Small words over a cell, on the right."""
        self._titles[row, column] = words

    def note(self, row: int, column: int, words: str, colour: str) -> None:
        """Small words below the points of a cell."""
        self._notes[row, column] = words, colour

    def figure(self, rows: Sequence[str], columns: Sequence[str], x: str) -> Figure:
        """The figure with names left of the rows and over the columns, and what x is."""
        high, wide = self._shape
        width = max(5.5, _LEFT + wide * _WIDTH + (wide - 1) * _BESIDE + 0.15)
        legend = 0.1 + 0.27 * legend_rows(self._handles, width)
        bottom = legend + _BELOW
        top = bottom + high * _HEIGHT + (high - 1) * _BETWEEN
        figure = Figure(figsize=(width, top + _ABOVE))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, top + _ABOVE))
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        drawn = _Drawn(axes)
        lefts = [_LEFT + column * (_WIDTH + _BESIDE) for column in range(wide)]
        lows = [top - _HEIGHT - row * (_HEIGHT + _BETWEEN) for row in range(high)]
        for left, name in zip(lefts, columns, strict=True):
            axes.text(left, top + 0.06, name, fontsize=10.5, fontweight="bold")
        for low, name in zip(lows, rows, strict=True):
            middle = low + _HEIGHT / 2
            axes.text(0.12, middle, name, rotation=90, va="center", ha="left", fontsize=10)
        axes.text(width / 2, legend + 0.12, x, fontsize=10.5, ha="center")
        for column, left in enumerate(lefts):
            cells = [self._points.get((row, column), []) for row in range(high)]
            across = _span([xs for points in cells for _, xs, _ in points])
            for row, low in enumerate(lows):
                words = self._titles.get((row, column), "")
                axes.text(left + _WIDTH, low + _HEIGHT + 0.06, words, fontsize=8, ha="right")
                note = self._notes.get((row, column))
                drawn.cell(left, low, cells[row], across, note, label_x=row == high - 1)
        drawn.finish()
        add_legend(figure, self._handles)
        return figure


class _Drawn:
    """What is drawn at once when all cells are known."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._marks: dict[Mark, list[Array]] = {}
        self._frames: list[Array] = []
        self._grid: list[Array] = []

    def cell(
        self,
        left: float,
        low: float,
        points: Sequence[tuple[Mark, Array, Array]],
        across: Extent,
        note: tuple[str, str] | None,
        *,
        label_x: bool,
    ) -> None:
        """One cell whose lower left corner is at (left, low)."""
        right, top = left + _WIDTH, low + _HEIGHT
        self._frames.append(np.array([[left, top], [left, low], [right, low]]))
        if not points:
            return
        down = _span([y for _, _, y in points])
        if note:
            down = (down[0] - _NOTE * (down[1] - down[0]), down[1])
            self._axes.text(left + 0.04, low + 0.05, note[0], color=note[1], fontsize=7)
        for mark, x, y in points:
            place = np.stack([left + _WIDTH * _share(x, across), low + _HEIGHT * _share(y, down)])
            self._marks.setdefault(mark, []).append(place)
        for value in _ticks(down):
            at = low + _HEIGHT * float(_share(np.array(value), down))
            self._grid.append(np.array([[left, at], [right, at]]))
            self._axes.text(left - 0.05, at, f"{value:g}", fontsize=7.5, ha="right", va="center")
        for value in _ticks(across):
            at = left + _WIDTH * float(_share(np.array(value), across))
            self._grid.append(np.array([[at, low], [at, top]]))
            if label_x:
                self._axes.text(at, low - 0.06, f"{value:g}", fontsize=7.5, ha="center", va="top")

    def finish(self) -> None:
        """Lines and marks of all cells."""
        for lines, colour, width, layer in (
            (self._grid, "#e4e4e4", 0.5, 0), (self._frames, "#1a1a1a", 0.8, 1),
        ):  # fmt: skip
            found = LineCollection(lines, colors=colour, linewidths=width, zorder=layer)
            self._axes.add_collection(found)
        for mark, places in self._marks.items():
            x, y = np.concatenate(places, axis=1)
            draw_marks(self._axes, mark, x, y)


def _span(values: Sequence[Array]) -> Extent:
    """The least and the largest with some room around them."""
    every = np.concatenate(values) if values else np.array([0.0, 1.0])
    low, high = float(every.min()), float(every.max())
    room = _MARGIN * (high - low) or 0.5
    return low - room, high + room


def _share(values: Array, span: Extent) -> Array:
    return (values - span[0]) / (span[1] - span[0])


def _ticks(span: Extent) -> list[float]:
    ticks = MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]).tick_values(*span)
    return [round(float(tick), 10) for tick in ticks if span[0] <= tick <= span[1]]
