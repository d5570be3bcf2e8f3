"""How far the masks are from each other (Fig. 8, 17)."""

from itertools import groupby

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from tamt_ray.analysis.figures.layout import (
    columns_for,
    distinct,
    method_handles,
    new_sheet,
    percent,
    style,
    thousands,
)
from tamt_ray.analysis.figures.palette import method_styles
from tamt_ray.analysis.figures.panels import column, draw_line

_MAP, _BAR = 2.2, 0.95
"""Inches: a map's side, and the room for the colour bar."""
_SHOWN = 24
"""Subnetworks up to which each has a label of its own."""


def mask_distances(distances: pl.DataFrame) -> Figure:
    """Heat maps of 1 − Jaccard, the mean over matrices (`macro`), for the rows of one model.

    A map a sparsity; lines part the methods, numbers are means over the pairs of two methods. A
    label is the method, followed by "·" and whatever tells its subnetworks apart.
    """
    sparsities: list[float] = distances["sparsity"].unique().sort().to_list()
    columns = columns_for(len(sparsities))
    rows = -(-len(sparsities) // columns)
    label = 0.2 + 0.066 * max(len(name) for name in distinct(distances, "a"))
    wide, tall = label + _MAP + 0.1, 0.35 + _MAP + label
    width, height = wide * columns + _BAR, tall * rows
    top = float(distances["macro"].to_numpy().max()) or 1.0
    with style():
        figure = Figure(figsize=(width, height))
        for number, sparsity in enumerate(sparsities):
            left = wide * (number % columns) + label
            low = height - tall * (number // columns) - 0.35 - _MAP
            axes = figure.add_axes((left / width, low / height, _MAP / width, _MAP / height))
            axes.set_title(percent(sparsity), fontweight="bold")
            image = _draw(axes, distances.filter(pl.col("sparsity") == sparsity), top)
            if number == 0:
                bar = figure.add_axes(
                    (1 - 0.7 / width, low / height, 0.12 / width, _MAP / height)
                )  # fmt: skip
                figure.colorbar(image, cax=bar).set_label("1 \N{MINUS SIGN} Jaccard")
        return figure


def distance_over_search(drift: pl.DataFrame) -> Figure:
    """Distance from OMP's mask over search iterations, a line a method, a panel a sparsity."""
    models, methods = distinct(drift, "model"), distinct(drift, "method")
    sparsities: list[float] = drift["sparsity"].unique().sort().to_list()
    columns, looks = columns_for(len(sparsities)), method_styles(methods)
    with style():
        sheet = new_sheet(dict.fromkeys(models, len(sparsities)), columns, method_handles(methods))
        for model, found in sheet.panels.items():
            for number, ((axes,), sparsity) in enumerate(zip(found, sparsities, strict=True)):
                here = drift.filter(model=model, sparsity=sparsity)
                for (method,), rows in here.group_by("method", maintain_order=True):
                    colour, marker = looks[str(method)]
                    draw_line(axes, column(rows, "iterations"), rows, colour, marker)
                axes.set_title(percent(sparsity), fontweight="bold")
                axes.set_xlabel("search iterations")
                axes.xaxis.set_major_formatter(thousands)
                axes.set_ylim(bottom=0)
                axes.grid(axis="y", color="#dddddd", linewidth=0.6)
                if number % columns == 0:
                    axes.set_ylabel("1 \N{MINUS SIGN} Jaccard to OMP")
        return sheet.figure


def _draw(axes: Axes, distances: pl.DataFrame, top: float) -> AxesImage:
    labels = list(dict.fromkeys([*distances["a"], *distances["b"]]))
    place = {label: number for number, label in enumerate(labels)}
    values = np.full((len(labels), len(labels)), np.nan)
    np.fill_diagonal(values, 0.0)
    for a, b, value in distances.select("a", "b", "macro").iter_rows():
        values[place[a], place[b]] = values[place[b], place[a]] = value
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
    groups = [
        (method, [place[label] for label in members])
        for method, members in groupby(labels, key=lambda label: label.partition("·")[0])
    ]
    _label_pairs(axes, values, [members for _, members in groups], top)
    if len(labels) <= _SHOWN:
        ticks = [(label, float(number)) for label, number in place.items()]
    else:
        ticks = [(method, float(np.mean(members))) for method, members in groups]
    names, at = zip(*ticks, strict=True)
    axes.set_xticks(at, names, rotation=90, fontsize=7.5)
    axes.set_yticks(at, names, fontsize=7.5)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    return image


def _label_pairs(axes: Axes, values: np.ndarray, groups: list[list[int]], top: float) -> None:
    """The mean of each pair of methods in the middle of its part of the map, and lines between."""
    for members in groups[1:]:
        for line in (axes.axhline, axes.axvline):
            line(members[0] - 0.5, color="white", linewidth=1.0)
    for rows in groups:
        for columns in groups:
            part = values[np.ix_(rows, columns)]
            if rows is columns:
                part = part[~np.eye(len(rows), dtype=bool)]
            known = part[np.isfinite(part)]
            if not known.size:
                continue
            mean = float(known.mean())
            axes.text(
                float(np.mean(columns)), float(np.mean(rows)), f"{mean:.2f}".removeprefix("0"),
                ha="center", va="center", fontsize=7.5,
                rotation=90 if len(columns) < 2 < len(rows) else 0,
                color="white" if mean < 0.6 * top else "black",
            )  # fmt: skip
