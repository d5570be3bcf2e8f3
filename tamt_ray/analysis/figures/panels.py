"""Single panels of the figures; `figures` arranges them."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from tamt_ray.analysis.figures.layout import GREY
from tamt_ray.analysis.figures.palette import Dashes, method_styles
from tamt_ray.analysis.stats.averages import AVERAGE, FIVE_AVERAGE
from tamt_ray.analysis.stats.correlation import interval_words
from tamt_ray.plan.expand import DENSE

_BASELINE: Dashes = (0, (1, 2))
SYMBOLS = {"pearson": "r", "spearman": "ρ", "kendall": "τ"}


def title_of(task: str, metric: str | None = None) -> str:
    """The words over a panel."""
    averages = {AVERAGE: "average over tasks", FIVE_AVERAGE: "average over five tasks"}
    return averages.get(task) or (f"{task} ({metric})" if metric else task)


def column(table: pl.DataFrame, name: str) -> np.ndarray:
    """Floats with NaN for what is missing, which matplotlib leaves out."""
    return table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def draw_line(
    axes: Axes,
    x: np.ndarray,
    rows: pl.DataFrame,
    colour: str,
    marker: str,
    dashes: Dashes = "-",
    size: float = 5.5,
) -> None:
    """A line of means with the band `low` to `high`; `rows` as `averages` gives them, one an x.

    A hollow marker says that some runs of the point are missing, a gap that all are.
    """
    mean, low, high = (column(rows, name) for name in ("mean", "low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, mean, color=colour, linewidth=1.6, linestyle=dashes, zorder=2)
    partial = (rows["missing"] > 0).to_numpy()
    for at, face in ((~partial, colour), (partial, "white")):
        if np.isfinite(mean[at]).any():
            axes.plot(
                x[at], mean[at], linestyle="none", marker=marker, markersize=size, zorder=3,
                markerfacecolor=face, markeredgecolor=colour,
            )  # fmt: skip


def draw_level(
    axes: Axes,
    row: pl.DataFrame,
    colour: str,
    span: np.ndarray,
    dashes: Dashes = (0, (5, 3)),
) -> None:
    """One mean and its band as wide as the values in `span`."""
    if not len(span):
        return
    across = np.array([span.min(), span.max()])
    mean, low, high = (column(row, name)[[0, 0]] for name in ("mean", "low", "high"))
    axes.plot(across, mean, color=colour, linewidth=1.2, linestyle=dashes, zorder=1)
    axes.fill_between(across, low, high, color=colour, alpha=0.12, linewidth=0, zorder=0)


def frame_scores(axes: Axes, rows: pl.DataFrame) -> None:
    """Keep bands of few seeds from dwarfing the means, and draw the best constant answer.

    `rows` as `averages` gives them. The answer is a grey line, where the panel reaches down to it.
    """
    axes.set_ylim(*_near(rows, axes.get_ylim()))
    value, (low, high) = rows["baseline"].max(), axes.get_ylim()
    if isinstance(value, float) and low <= value <= high:
        axes.axhline(value, color=GREY, linewidth=1.0, linestyle=_BASELINE, zorder=0)


def _near(rows: pl.DataFrame, limits: tuple[float, float]) -> tuple[float, float]:
    """The limits, drawn in to the span of the means on either side of the means."""
    mean = column(rows.drop_nulls("mean"), "mean")
    if not len(mean):
        return limits
    span = max(1.0, float(np.ptp(mean)))
    return max(limits[0], float(mean.min()) - span), min(limits[1], float(mean.max()) + span)


def draw_curves(axes: Axes, averages: pl.DataFrame, methods: Sequence[str], *, label: bool) -> None:
    """Score over sparsity, a line a method with its band; the dense model as a horizontal line."""
    styles = method_styles(methods)
    span = column(averages.filter(pl.col("method") != DENSE), "sparsity") * 100
    ends: dict[str, float] = {}
    for method in methods:
        colour, marker = styles[method]
        rows = averages.filter(pl.col("method") == method).sort("sparsity")
        mean = column(rows, "mean")
        if not np.isfinite(mean).any():
            continue
        if method == DENSE:
            draw_level(axes, rows, colour, span)
        else:
            draw_line(axes, column(rows, "sparsity") * 100, rows, colour, marker)
        ends[method] = float(mean[np.isfinite(mean)][-1])
    frame_scores(axes, averages)
    axes.set_xlabel("sparsity (%)")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    if label:
        _label_ends(axes, ends, {method: styles[method][0] for method in ends})


def _label_ends(axes: Axes, ends: Mapping[str, float], colours: Mapping[str, str]) -> None:
    """Names right of the lines, pushed apart where lines end close together."""
    left, right = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= right])
    edge = right + 0.02 * (right - left)
    axes.set_xlim(left, right + 0.4 * (right - left))
    low, high = axes.get_ylim()
    order = sorted(ends, key=lambda method: ends[method])
    places = spread_out([(ends[method] - low) / (high - low) for method in order], 0.065)
    for method, place in zip(order, places, strict=True):
        at = (edge + 0.05 * (right - left), low + place * (high - low))
        axes.annotate(
            method, (edge, ends[method]), xytext=at,
            va="center", color=colours[method], fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": colours[method], "linewidth": 0.8,
                        "shrinkA": 1, "shrinkB": 0},
        )  # fmt: skip


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Rising `places` in [0, 1] moved up, then down from 1, until `gap` apart."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    ceiling = 1.0
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved


def draw_dots(
    axes: Axes, averages: pl.DataFrame, runs: pl.DataFrame, methods: Sequence[str]
) -> None:
    """One sparsity: a row a method with its mean, interval and single runs."""
    styles = method_styles(methods)
    for row, method in enumerate(reversed(methods)):
        colour, marker = styles[method]
        found = averages.filter(pl.col("method") == method)
        if found.is_empty():
            continue
        mean, low, high = (float(column(found, name)[0]) for name in ("mean", "low", "high"))
        if not np.isfinite(mean):
            axes.annotate(
                "missing", (0.5, row), xycoords=("axes fraction", "data"), ha="center",
                va="center", color="#666666", style="italic",
            )  # fmt: skip
            continue
        if method == DENSE:
            axes.axvline(mean, color=colour, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
            if np.isfinite(low):
                axes.axvspan(low, high, color=colour, alpha=0.1, linewidth=0, zorder=0)
        single = column(runs.filter(pl.col("method") == method), "score")
        axes.plot(
            single, np.full(len(single), row - 0.22), linestyle="none", marker="o", markersize=4,
            color=colour, alpha=0.45, markeredgewidth=0, zorder=2,
        )  # fmt: skip
        if np.isfinite(low):
            axes.plot([low, high], [row, row], color=colour, linewidth=3, alpha=0.55, zorder=2)
        partial = found["missing"][0] > 0
        axes.plot(
            [mean], [row], marker=marker, markersize=8, markeredgecolor=colour, zorder=3,
            markerfacecolor="white" if partial else colour,
        )  # fmt: skip
        axes.annotate(
            f"{mean:.1f}", (mean, row), xytext=(0, 7), textcoords="offset points", ha="center",
            va="bottom", color=colour, fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    axes.set_yticks(range(len(methods)), list(reversed(methods)))
    axes.set_ylim(-0.6, len(methods) - 0.35)
    axes.margins(x=0.12)
    axes.set_xlim(*_near(averages, axes.get_xlim()))
    value, (left, right) = averages["baseline"].max(), axes.get_xlim()
    if isinstance(value, float) and left <= value <= right:
        axes.axvline(value, color=GREY, linewidth=1.0, linestyle=_BASELINE, zorder=0)
    axes.set_xlabel("score (%)")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)


def draw_scatter(
    axes: Axes,
    points: pl.DataFrame,
    loss: str,
    methods: Sequence[str],
    markers: Mapping[float, str],
) -> None:
    """Score over a pre-training loss, a marker a subnetwork; hollow where runs are missing.

    Checkpoints are drawn smaller.
    """
    styles = method_styles(methods)
    whole = pl.col("runs") == pl.col("runs_expected")
    groups = points.drop_nulls(["score", loss]).group_by(
        "method", "sparsity", pl.col("checkpoint").is_null().alias("main"), whole.alias("whole"),
        maintain_order=True,
    )  # fmt: skip
    for (method, sparsity, main, complete), group in groups:
        colour, star = styles[str(method)]
        dense = method == DENSE
        axes.plot(
            group[loss].to_numpy(), group["score"].to_numpy(), linestyle="none",
            marker=star if dense else markers[float(str(sparsity))],
            markersize=13 if dense else 6.5 if main else 4,
            markerfacecolor=colour if complete else "white",
            markeredgecolor="white" if complete else colour,
            markeredgewidth=0.6 if complete else 1.2, alpha=0.9, zorder=3 if dense else 2,
        )  # fmt: skip
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.margins(0.08)


def correlation_words(correlations: pl.DataFrame) -> str:
    """The three pooled coefficients of one panel with their intervals, or why there are none."""
    rows = correlations.filter(pl.col("scope") == "all").to_dicts()
    if not rows:
        return ""
    if rows[0]["reason"]:
        return f"no correlation: {rows[0]['reason']}"
    words = [
        f"{SYMBOLS[row['statistic']]} {row['value']:.2f} {interval_words(row)}".rstrip()
        for row in rows
    ]
    words[0] += f"   n = {rows[0]['n']}"
    return "\n".join(words).replace("-", "\N{MINUS SIGN}")
