"""What happens while a mask is searched: losses and density over the steps."""

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tamt_ray.analysis.figures.layout import (
    LOSS_NAMES,
    columns_for,
    distinct,
    method_handles,
    new_sheet,
    percent,
    style,
    thousands,
)
from tamt_ray.analysis.figures.palette import Look, method_styles
from tamt_ray.analysis.figures.panels import column

_ASKED = "#1a1a1a"
_MOST = 300
"""Points of a line; what was logged more often is averaged."""


def search_losses(curves: pl.DataFrame) -> Figure:
    """Training losses over steps, mean over masks, a panel for each (sparsity, loss)."""
    losses = [loss for loss in LOSS_NAMES if loss in set(curves["name"])]
    return _over_steps(curves, losses)


def density_over_steps(curves: pl.DataFrame) -> Figure:
    """Share of kept weights over steps, mean over masks, a panel a sparsity; dotted: as asked."""
    return _over_steps(curves, ["density"])


def _over_steps(curves: pl.DataFrame, names: Sequence[str]) -> Figure:
    chosen = curves.filter(pl.col("name").is_in(names))
    models, methods = distinct(chosen, "model"), distinct(chosen, "method")
    sparsities: list[float] = chosen["sparsity"].unique().sort().to_list()
    columns = columns_for(len(sparsities))
    looks = method_styles(methods)
    handles = method_handles(methods, shapes=False)
    if "density" in names:
        handles.append(Line2D([], [], color=_ASKED, linestyle=":", label="as asked"))
    with style():
        sheet = new_sheet(
            dict.fromkeys(models, len(sparsities)), columns, handles, high=len(names)
        )  # fmt: skip
        for model, found in sheet.panels.items():
            for number, (sparsity, panels) in enumerate(zip(sparsities, found, strict=True)):
                here = (pl.col("model") == model) & (pl.col("sparsity") == sparsity)
                for name, axes in zip(names, panels, strict=True):
                    _draw(axes, chosen.filter(here, pl.col("name") == name), looks)
                    if name == "density":
                        asked = 100 * (1 - sparsity)
                        axes.axhline(asked, color=_ASKED, linewidth=1.2, linestyle=":", zorder=3)
                    if number % columns == 0:
                        axes.set_ylabel(LOSS_NAMES.get(name, "density (%)"))
                panels[0].set_title(percent(sparsity), fontweight="bold")
                panels[-1].set_xlabel("steps")
        return sheet.figure


def _draw(axes: Axes, curves: pl.DataFrame, looks: dict[str, Look]) -> None:
    scale = 100 if (curves["name"] == "density").any() else 1
    for (method,), part in curves.group_by("method", maintain_order=True):
        last: int = part["step"].max() or 1  # pyright: ignore[reportAssignmentType]
        width = max(1, -(-last // _MOST))
        line = (
            part.group_by(pl.col("step") // width)
            .agg(at=pl.col("step").mean(), mean=pl.col("value").mean() * scale)
            .sort("step")
        )
        colour = looks[str(method)][0]
        axes.plot(column(line, "at"), column(line, "mean"), color=colour, linewidth=1.3)
    axes.xaxis.set_major_formatter(thousands)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
