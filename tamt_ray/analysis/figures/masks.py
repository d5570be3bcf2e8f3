"""Figures of distances between masks (Fig. 8, 17), and of the course of searches."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from tamt_ray.analysis.figures import vega
from tamt_ray.analysis.figures.marks import line_panel
from tamt_ray.analysis.figures.scores import LOSS_NAMES
from tamt_ray.analysis.figures.vega import Figure, Spec, distinct, grid, layer, looks_of, tooltip
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.results import by_cell
from tamt_ray.analysis.roles import roles
from tamt_ray.analysis.stats.trajectories import drift, search_curves
from tamt_ray.analysis.words import percent
from tamt_ray.methods.base import Look

_SHOWN = 24
"""Masks up to which a map has a cell per pair of masks, above one per pair of methods."""
_MOST = 300
"""Points of a line; what was logged more often is averaged."""


def mask_distances(data: ReportData) -> Iterator[Figure]:
    """Yield heat maps of 1 − Jaccard between final masks, a map per sparsity, for each model."""
    final = data.distances.filter(
        pl.col("checkpoint_a").is_null(), pl.col("checkpoint_b").is_null()
    )
    top = final["macro"].max()
    several = len(data.sweep.models) > 1
    for model in data.sweep.models:
        each = final.filter(model=model)
        if each.is_empty():
            continue
        yield Figure(
            f"mask_distances_{model}" if several else "mask_distances", "Fig. 8, 17",
            "Distances between masks" + (f", {model}" if several else ""),
            "1 − Jaccard of the kept weights, unweighted mean over matrices, between the final "
            "masks of one sparsity. A label is the method and the mask seed; of many masks, means "
            "over the pairs of two methods.",
            grid(
                (model, _map(percent(sparsity), each.filter(sparsity=sparsity), top))
                for sparsity in each["sparsity"].unique().sort()
            ),
        )  # fmt: skip


def distance_over_search(data: ReportData) -> Iterator[Figure]:
    """Yield the distance from OMP's mask over search iterations."""
    moved = drift(data.distances, data.searches, roles(data.sweep).get("omp", ""))
    if moved.group_by("model", "sparsity", "method").len()["len"].max() in (None, 1):
        return
    rows = moved.with_columns(n=pl.lit(1), n_expected=pl.lit(1), baseline=pl.lit(None, pl.Float64))
    panels = [
        (cell.model,
         line_panel(percent(cell.sparsity), part, "iterations", looks_of(data, rows),
                    x_title="search iterations", y_title="1 − Jaccard to OMP", form="~s", levels=(),
                    least=0.02))
        for cell, part in by_cell(rows, "model", "sparsity")
    ]  # fmt: skip
    yield Figure(
        "distance_over_search", "Fig. 8", "How far masks move away from OMP's",
        "1 − Jaccard to the mask of one-shot magnitude pruning over search iterations, mean over "
        "masks with its 95 % interval.",
        grid(panels),
    )  # fmt: skip


def search_losses(data: ReportData) -> Iterator[Figure]:
    """Yield training losses over steps."""
    table = search_curves(data.plan, data.histories)
    losses = [loss for loss in LOSS_NAMES if loss in set(table["name"])]
    if losses:
        yield Figure(
            "search_losses", "", "Losses during the searches",
            "Training losses over optimiser steps, mean over masks, of an IMP mask its last "
            "level. The text that is read at a step is a random draw, hence the noise.",
            _over_steps(data, table, losses),
        )  # fmt: skip


def density(data: ReportData) -> Iterator[Figure]:
    """Yield the share of kept weights over steps."""
    table = search_curves(data.plan, data.histories)
    if "density" in set(table["name"]):
        yield Figure(
            "density", "", "Density during the searches",
            "Share of kept weights over all masked matrices over optimiser steps, mean over "
            "masks; dotted: as asked. It drifts where the threshold is not chosen anew every "
            "step.",
            _over_steps(data, table, ["density"]),
        )  # fmt: skip


def _map(title: str, pairs: pl.DataFrame, top: object) -> Spec:
    labels = list(dict.fromkeys([*pairs["a"], *pairs["b"]]))
    ends = ("a", "b")
    if len(labels) > _SHOWN:
        ends = ("method_a", "method_b")
        labels = list(dict.fromkeys([*pairs["method_a"], *pairs["method_b"]]))
    sides = [pairs.select(a=first, b=second, macro="macro") for first, second in (ends, ends[::-1])]
    cells = pl.concat(sides).group_by("a", "b", maintain_order=True).agg(pl.col("macro").mean())
    axis = {"type": "nominal", "sort": labels, "title": None}
    place = {"x": {"field": "a", **axis, "axis": {"labelAngle": -90}}, "y": {"field": "b", **axis}}
    colour = {"field": "macro", "type": "quantitative", "title": "1 − Jaccard",
              "scale": {"scheme": "viridis", "domain": [0, top]},
              "legend": {"orient": "right", "gradientLength": 120}}  # fmt: skip
    shown = tooltip(a="mask", b="and", macro="1 − Jaccard:.3f")
    found = [layer({"type": "rect"}, cells, **place, color=colour, tooltip=shown)]
    if len(labels) <= 12:
        dark = {"condition": {"test": f"datum.macro > {_number(top) * 0.6}", "value": "black"},
                "value": "white"}  # fmt: skip
        found.append(
            layer({"type": "text", "fontSize": 9}, cells, **place, color=dark,
                  text={"field": "macro", "format": ".2f"})
        )  # fmt: skip
    side = max(120, min(280, 26 * len(labels)))
    return vega.panel(title, found, side, side) | {"zoom": False}


def _over_steps(data: ReportData, table: pl.DataFrame, names: Sequence[str]) -> Spec:
    chosen = table.filter(pl.col("name").is_in(list(names)))
    looks = looks_of(data, chosen)
    sparsities = chosen["sparsity"].unique().sort().to_list()
    panels = [
        (model,
         _steps(chosen.filter(model=model, sparsity=sparsity, name=name), name, sparsity, looks))
        for model in distinct(chosen, "model")
        for name in names
        for sparsity in sparsities
    ]  # fmt: skip
    return grid(panels, 4 if len(sparsities) == 1 else len(sparsities))


def _steps(rows: pl.DataFrame, name: str, sparsity: float, looks: Mapping[str, Look]) -> Spec:
    scale = 100 if name == "density" else 1
    width = (pl.col("step").max().over("method") / _MOST).ceil().clip(1)
    line = (
        rows.group_by("method", (pl.col("step") // width).alias("bin"), maintain_order=True)
        .agg(step=pl.col("step").mean(), value=pl.col("value").mean() * scale)
        .drop("bin")
        .sort("step", maintain_order=True)
    )
    title = LOSS_NAMES.get(name, "density (%)")
    down = vega.quantity("value", title)
    found = [
        layer({"type": "line", "strokeWidth": 1.6, "clip": True}, line,
              x=vega.quantity("step", "steps", "~s"), y=down, color=vega.by_method(looks),
              opacity=vega.picked(),
              tooltip=tooltip(method="method", step="step:.0f", value="value:.3f"))
    ]  # fmt: skip
    if name == "density":
        asked = [{"value": 100 * (1 - sparsity)}]
        found.append(layer({"type": "rule", "strokeDash": [2, 3]}, asked, y=down))
    return vega.panel(percent(sparsity), found, 220, 160)


def _number(value: object) -> float:
    return float(value) if isinstance(value, float) else 1.0
