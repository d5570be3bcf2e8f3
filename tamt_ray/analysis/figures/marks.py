"""The kinds of panel: lines with bands, dots with intervals, clouds of points."""

from collections.abc import Mapping, Sequence

import polars as pl

from tamt_ray.analysis.figures.vega import (
    GREY,
    Spec,
    by_method,
    layer,
    panel,
    picked,
    quantity,
    tooltip,
)
from tamt_ray.analysis.words import percent
from tamt_ray.methods.base import Look
from tamt_ray.plan.expand import DENSE

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
_SCORE = tooltip(
    method="method", mean="score:.1f", low="95 % from:.1f", high="to:.1f", runs="runs",
    beside="",
)  # fmt: skip
_FAR = 2.5
"""Largest factor by which one method may widen a panel."""


def line_panel(
    title: str,
    rows: pl.DataFrame,
    x: str,
    looks: Mapping[str, Look],
    *,
    x_title: str,
    y_title: str = "score (%)",
    levels: Sequence[str] = (DENSE,),
    dash: str | None = None,
    dashes: Sequence[str] = (),
    form: str = "",
    ticks: Sequence[float] | Sequence[str] = (),
    least: float = 1.0,
) -> Spec:
    """Return lines of `mean` over `x` with the band from `low` to `high`, one per method.

    `rows`: method, x, mean, low, high, n, n_expected, baseline (`averages.averages`), one per
    point. Hollow points: some runs are missing. `levels`: methods that are drawn as a horizontal
    dashed line. `dash`: a column that tells several lines of a method apart by their dashes.
    `ticks`: the values of x that have a label; as text they stand side by side without a scale.
    `least`: the smallest range of the y axis beyond the means.
    """
    rows, domain, words = _framed(rows, least=least)
    lines = rows.filter(~pl.col("method").is_in(list(levels))).sort(x, maintain_order=True)
    flat = rows.filter(pl.col("method").is_in(list(levels)))
    numbers = [tick for tick in ticks if not isinstance(tick, str)]
    across = quantity(x, x_title, form, numbers)
    if len(numbers) < len(ticks):
        across = {"field": x, "type": "ordinal", "sort": list(ticks), "title": x_title,
                  "axis": {"labelAngle": 0}}  # fmt: skip
    down = quantity("mean", y_title, domain=domain)
    colour = by_method(looks)
    clip: Spec = {"clip": True}
    patterns = {"domain": list(dashes), "range": list(_DASHES[: len(dashes)])}
    dashed = dash and {"field": dash, "type": "nominal", "title": None, "scale": patterns}
    whole = pl.col("n") >= pl.col("n_expected")
    found = [
        layer({"type": "area", **clip}, lines.drop_nulls("low"), x=across,
              y={**down, "field": "low"}, y2={"field": "high"}, color=colour, opacity=picked(0.16),
              detail={"field": dash} if dash else None),
        layer({"type": "line", "strokeWidth": 2, **clip}, lines, x=across, y=down, color=colour,
              opacity=picked(), strokeDash=dashed or None),
        layer({"type": "rule", "strokeWidth": 1.5, **clip}, flat.drop_nulls("mean"), y=down,
              color=colour, opacity=picked(), tooltip=_SCORE,
              strokeDash=dashed or {"value": [6, 4]}),
    ]  # fmt: skip
    for chosen, filled in ((lines.filter(whole), True), (lines.filter(~whole), False)):
        found.append(
            layer({"type": "point", "filled": filled, "size": 50, "strokeWidth": 1.5, **clip},
                  chosen.drop_nulls("mean"), x=across, y=down, color=colour,
                  shape=by_method(looks, shapes=True), opacity=picked(), tooltip=_SCORE)
        )  # fmt: skip
    found += _baseline(rows, "y", y_title, domain)
    return panel(title, found, 220, 160, words)


def _rounded(name: str) -> pl.Expr:
    """Return numbers as the tables print them; a chart's own format rounds halves otherwise."""
    return pl.col(name).map_elements(lambda value: f"{value:.1f}", return_dtype=pl.String)


def dots(title: str, rows: pl.DataFrame, runs: pl.DataFrame, looks: Mapping[str, Look]) -> Spec:
    """Return a row per method with its mean, its interval and its single runs (method, score)."""
    rows, domain, words = _framed(rows, runs["score"])
    across, colour = quantity("mean", "score (%)", domain=domain), by_method(looks)
    colour = {**colour, "legend": None}
    down = {"field": "method", "type": "nominal", "sort": list(looks), "title": None,
            "axis": {"grid": True, "ticks": False, "domain": False}}  # fmt: skip
    dense, there = rows.filter(method=DENSE).drop_nulls("mean"), rows.drop_nulls("mean")
    several = runs.drop_nulls("score").filter(pl.len().over("method") > 1)
    whole = pl.col("n") >= pl.col("n_expected")
    shape = {**by_method(looks, shapes=True), "legend": None}
    found = [
        layer({"type": "rule", "strokeDash": [6, 4]}, dense, x=across, color=colour),
        layer({"type": "circle", "size": 22, "opacity": 0.45}, several,
              x={**across, "field": "score"}, y=down, color=colour,
              tooltip=tooltip(method="method", score="one run:.1f")),
        layer({"type": "rule", "strokeWidth": 4, "opacity": 0.45, "clip": True},
              there.drop_nulls("low"), x={**across, "field": "low"}, x2={"field": "high"}, y=down,
              color=colour),
        *(layer({"type": "point", "filled": filled, "size": 80, "strokeWidth": 2, "opacity": 1},
                there.filter(chosen), x=across, y=down, color=colour, shape=shape, tooltip=_SCORE)
          for chosen, filled in ((whole, True), (~whole, False))),
        layer({"type": "text", "dy": -10, "fontSize": 11, "fontWeight": "bold"},
              there.with_columns(words=_rounded("mean")), x=across, y=down, color=colour,
              text={"field": "words"}),
        layer({"type": "text", "fontStyle": "italic", "color": GREY},
              rows.filter(pl.col("mean").is_null()).with_columns(words=pl.lit("missing")),
              x={"value": 115}, y=down, text={"field": "words"}),
    ]  # fmt: skip
    found += _baseline(rows, "x", "score (%)", domain)
    return panel(title, found, 230, {"step": 30}, words) | {"zoom": False}


def cloud(
    title: str,
    points: pl.DataFrame,
    loss: str,
    looks: Mapping[str, Look],
    *,
    x_title: str,
    y_title: str,
    words: Sequence[str] = (),
    boxes: pl.DataFrame | None = None,
    by_sparsity: bool = False,
    size: tuple[int, int] = (220, 170),
) -> Spec:
    """Return the score over a pre-training loss, a mark per subnetwork.

    Small: checkpoints; hollow: some runs are missing. A method so far from all others that they
    would shrink to a dot is left outside and named under the title. `boxes`: published ranges
    (`published.read_published`). `by_sparsity`: shapes are sparsities, not methods.
    """
    points = points.drop_nulls(["score", loss])
    far = _outlier(points, loss)
    inside = points.filter(pl.col("method") != (far or ""))
    if far:
        away = points.filter(method=far)
        words = [*words, f"outside: {far}, {_mean(away, 'score'):.1f} % at {_mean(away, loss):.3g}"]
    across = quantity(loss, x_title, domain=_domain(inside, loss), padding=0)
    high = _domain(inside, "score")
    down = quantity("score", y_title, domain=high, padding=0)
    shape: Spec = by_method(looks, shapes=True)
    if by_sparsity:
        order = [percent(sparsity) for sparsity in points["sparsity"].unique().sort()]
        shape = {"field": "removed", "type": "nominal", "sort": order, "title": None}
    whole = pl.col("runs") >= pl.col("runs_expected")
    marked = points.with_columns(
        of=pl.format("{} of {}", "runs", "runs_expected"),
        removed=pl.col("sparsity").map_elements(percent, pl.String),
    )
    tips = [*tooltip(method="method", removed="sparsity", mask_seed="mask seed",
                     checkpoint="steps", score="score:.1f", of="runs"),
            {"field": loss, "title": x_title, "format": ".3f", "type": "quantitative"}]  # fmt: skip
    found = _baseline(points, "y", y_title, high)
    for chosen, filled in ((whole, True), (~whole, False)):
        marks = marked.filter(chosen).with_columns(
            size=pl.when(pl.col("checkpoint").is_null()).then(70).otherwise(24)
        )
        found.append(
            layer({"type": "point", "filled": filled, "clip": True},
                  marks, x=across, y=down, color=by_method(looks),
                  shape=shape, opacity=picked(0.9), tooltip=tips,
                  size={"field": "size", "type": "quantitative", "scale": None, "legend": None})
        )  # fmt: skip
    if boxes is not None and boxes.height:
        shown = boxes.filter(pl.col("method").is_in(list(looks)))
        found.append(
            layer({"type": "rect", "opacity": 0.25, "strokeWidth": 3, "strokeOpacity": 0.5,
                   "clip": True}, shown,
                  x={**across, "field": f"{loss}_low"}, x2={"field": f"{loss}_high"},
                  y={**down, "field": "avg_low"}, y2={"field": "avg_high"},
                  color=by_method(looks), stroke=by_method(looks),
                  tooltip=tooltip(method="published"))
        )  # fmt: skip
    return panel(title, found, *size, words)


def _framed(
    rows: pl.DataFrame, further: pl.Series | None = None, least: float = 1.0
) -> tuple[pl.DataFrame, list[float], list[str]]:
    """Return the rows with words for the pointer, the range of scores, and what lies outside it.

    Bands of few seeds must not dwarf the means: the range reaches no further than the span of the
    means on either side of them.
    """
    means = rows["mean"].drop_nulls()
    rows = rows.with_columns(
        runs=pl.format("{} of {}", "n", "n_expected"),
        beside=pl.when(pl.col("mean") <= pl.col("baseline") + 1e-9)
        .then(pl.lit("≤ constant answer"))
        .otherwise(pl.lit("")),
    )
    low, high = (_float(means.min()), _float(means.max())) if len(means) else (0.0, 1.0)
    span, constant = max(least, high - low), rows["baseline"].max()
    ends = [rows["low"].min(), rows["high"].max(), constant, *(() if further is None else further)]
    known = [_float(end) for end in ends if end is not None]
    bottom, top = max(min([low, *known]), low - span), min(max([high, *known]), high + span)
    room = 0.06 * (top - bottom) or 0.5
    words: list[str] = []
    if constant is not None and not bottom - room <= (value := _float(constant)) <= top + room:
        words.append(f"best constant answer {value:.1f}, outside")
    return rows, [bottom - room, top + room], words


def _baseline(rows: pl.DataFrame, axis: str, title: str, domain: Sequence[float]) -> list[Spec]:
    value = rows["baseline"].max()
    if value is None or not domain[0] <= _float(value) <= domain[1]:
        return []
    place = quantity("value", title, domain=list(domain))
    mark = {"type": "rule", "color": GREY, "strokeDash": [2, 3], "strokeWidth": 1.5}
    shown = tooltip(words="", value="score:.1f")
    data = [{"value": value, "words": "best constant answer"}]
    return [layer(mark, data, **{axis: place}, tooltip=shown)]


def _outlier(points: pl.DataFrame, loss: str) -> str | None:
    stretched: dict[str, float] = {}
    for method in points["method"].unique(maintain_order=True):
        others = points.filter(pl.col("method") != method)
        if others["method"].n_unique() > 2:
            stretched[method] = max(
                _span(points, name) / (_span(others, name) or float("inf"))
                for name in ("score", loss)
            )
    worst = max(stretched, key=stretched.__getitem__, default="")
    return worst if stretched.get(worst, 0) > _FAR else None


def _domain(points: pl.DataFrame, name: str) -> list[float]:
    if points.is_empty():
        return [0.0, 1.0]
    low, high = _float(points[name].min()), _float(points[name].max())
    room = 0.08 * (high - low) or 0.5
    return [low - room, high + room]


def _span(points: pl.DataFrame, name: str) -> float:
    return _float(points[name].max()) - _float(points[name].min())


def _mean(points: pl.DataFrame, name: str) -> float:
    return _float(points[name].mean())


def _float(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
