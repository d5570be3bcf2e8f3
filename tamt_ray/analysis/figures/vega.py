"""One engine for all figures: Vega-Lite specifications, laid out as panels in a grid.

The same specification is the chart of the report and the static file beside it. It is plain JSON
with explicit names and colours, so the same numbers give the same bytes.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import polars as pl
import vl_convert

from tamt_ray.analysis.figures.palette import method_styles
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.methods.base import Look
from tamt_ray.plan.expand import DENSE

Spec = dict[str, object]

GREY = "#6b7280"
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_VERSION = "6.4"
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_THEME: Spec = {
    "font": _FONT,
    "background": "white",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal",
             "gridOpacity": 0.5, "tickCount": 5, "labelLimit": 160},
    "axisX": {"grid": False},
    "legend": {"orient": "top", "title": None, "labelFontSize": 12, "symbolStrokeWidth": 2,
               "labelLimit": 200, "columns": 7, "symbolOpacity": 1},
    "title": {"anchor": "start", "fontSize": 12.5, "subtitleFontSize": 10.5, "subtitlePadding": 2,
              "offset": 6, "subtitleColor": GREY},
    "concat": {"spacing": 28},
}  # fmt: skip
_IDS = re.compile(r"""(\bid="|url\(#)((?:clip|gradient_)\d+)""")
PICKED = "picked"
"""The parameter that a click in the legend sets."""


@dataclass(frozen=True)
class Figure:
    """A figure with the words around it. In a notebook it shows itself."""

    name: str
    """Name of its files, without the ending."""
    numbers: str
    """In the paper: "Fig. 6, 14–16"; empty for a figure it does not have."""
    title: str
    caption: str
    spec: Spec
    """A Vega-Lite specification that holds its data."""
    weak: str = ""
    """Reason for which it shows little, such as "6 points"; empty where it shows enough."""

    @property
    def panels(self) -> int:
        """Number of panels."""
        blocks = self.spec.get("vconcat", [self.spec])
        assert isinstance(blocks, list)
        return sum(len(block["concat"]) for block in blocks)

    @cached_property
    def svg(self) -> str:
        """The figure as SVG."""
        drawn = vl_convert.vegalite_to_svg(self.spec, vl_version=_VERSION)
        # The library counts its ids on from figure to figure.
        names: dict[str, str] = {}
        return _IDS.sub(lambda m: m[1] + names.setdefault(m[2], f"part{len(names)}"), drawn)

    @property
    def pdf(self) -> bytes:
        """The figure as PDF; not always the same bytes."""
        return vl_convert.svg_to_pdf(self.svg)

    @property
    def png(self) -> bytes:
        """The figure as PNG, two pixels per point."""
        return vl_convert.svg_to_png(self.svg, scale=2)

    def save(self, path: str | Path) -> None:
        """Write a .svg, .pdf, .png or .json file. Raises ValueError for another ending."""
        match Path(path).suffix:
            case ".svg":
                content = self.svg.encode()
            case ".pdf":
                content = self.pdf
            case ".png":
                content = self.png
            case ".json":
                content = json.dumps(self.spec, indent=1).encode()
            case other:
                raise ValueError(f"{path}: {other or 'no ending'} is not .svg, .pdf, .png or .json")
        Path(path).write_bytes(content)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        return {"application/vnd.vegalite.v6+json": self.spec, "image/svg+xml": self.svg}


@cache
def javascript() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that asks for nothing else."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_VERSION)


def grid(panels: Iterable[tuple[str, Spec]], columns: int = 4) -> Spec:
    """Return panels, each behind its model, in rows of `columns`, a block per model under its name.

    Each panel can be moved (drag) and zoomed (shift and wheel) by itself; a click in the legend
    singles out a method in all of them.
    """
    found = list(panels)
    lines = max((len(_subtitle(panel)) for _, panel in found), default=0)
    blocks: dict[str, list[Spec]] = {}
    for number, (name, panel) in enumerate(found):
        _take_pointer(panel, number)
        # As many lines above each, so that panels side by side begin at one height.
        _subtitle(panel).extend([" "] * (lines - len(_subtitle(panel))))
        blocks.setdefault(name, []).append(panel)
    parts: list[Spec] = [
        {"concat": each, "columns": min(columns, len(each)),
         **({"title": {"text": name, "fontSize": 15}} if len(blocks) > 1 else {})}
        for name, each in blocks.items()
    ]  # fmt: skip
    whole = parts[0] if len(parts) == 1 else {"vconcat": parts}
    pick = {"name": PICKED, "bind": "legend", "views": [f"panel_{i}" for i in range(len(found))],
            "select": {"type": "point", "fields": ["method"]}}  # fmt: skip
    return {"$schema": _SCHEMA, "config": _THEME, "params": [pick], **whole}


def _take_pointer(panel: Spec, number: int) -> None:
    """Let the first layer of a panel, which stands for all of them, be picked and zoomed."""
    layers = panel["layer"]
    assert isinstance(layers, list)
    first: Spec = layers[0]
    first["name"] = f"panel_{number}"
    if panel.pop("zoom", True):
        first["params"] = [
            {"name": f"zoom_{number}", "bind": "scales",
             "select": {"type": "interval", "zoom": "wheel![event.shiftKey]"}}
        ]  # fmt: skip


def _subtitle(panel: Spec) -> list[str]:
    title = panel["title"]
    assert isinstance(title, dict)
    return title["subtitle"]


def panel(
    title: str, layers: Iterable[Spec], width: int, height: int | Spec, subtitle: Sequence[str] = ()
) -> Spec:
    """Return the layers that show something, under a title; the first if none does."""
    found = list(layers)
    found = [each for each in found if each["data"] != {"values": []}] or found[:1]
    return {
        "title": {"text": title, "subtitle": list(subtitle)},
        "width": width,
        "height": height,
        "layer": found,
    }


def layer(
    mark: Mapping[str, object],
    rows: pl.DataFrame | Sequence[Mapping[str, object]],
    **encoding: object,
) -> Spec:
    """Return one kind of mark for some rows; `encoding` by channel, None for a channel left out."""
    given = rows.to_dicts() if isinstance(rows, pl.DataFrame) else rows
    channels = {channel: found for channel, found in encoding.items() if found is not None}
    fields = dict.fromkeys(_fields([*channels.values()]))
    values = [{name: _short(row[name]) for name in fields} for row in given]
    return {"mark": dict(mark), "data": {"values": values}, "encoding": channels}


def quantity(
    field: str,
    title: str | None = None,
    form: str = "",
    ticks: Sequence[float] = (),
    **scale: object,
) -> Spec:
    """Return a channel for numbers; `form`: a d3 format of its axis; `scale`: its scale."""
    marks = {**({"format": form} if form else {}), **({"values": list(ticks)} if ticks else {})}
    axis: Spec = {"axis": marks} if marks else {}
    return {"field": field, "type": "quantitative", "title": title,
            "scale": {"zero": False, "nice": False, "padding": 8, **scale}, **axis}  # fmt: skip


def looks_of(data: ReportData, table: pl.DataFrame) -> dict[str, Look]:
    """Return the looks of the methods in a table, in the order of the sweep; a method has one look
    in all figures of a sweep."""
    present = set(table["method"])
    styles = method_styles([DENSE, *(method.name for method in data.sweep.methods)])
    return {method: look for method, look in styles.items() if method in present}


def by_method(looks: Mapping[str, Look], *, shapes: bool = False) -> Spec:
    """Return the channel for colours of methods, or for their shapes."""
    scale = {"domain": list(looks), "range": [look[shapes] for look in looks.values()]}
    return {"field": "method", "type": "nominal", "scale": scale, "title": None}


def picked(opacity: float = 1.0) -> Spec:
    """Return an opacity that fades when another method is picked in the legend."""
    return {"condition": {"param": PICKED, "value": opacity}, "value": opacity * 0.12}


def tooltip(**fields: str) -> list[Spec]:
    """Return what a pointer shows: titles by field; a title that ends in ":" and a d3 format has
    its number printed so."""
    found: list[Spec] = []
    for field, words in fields.items():
        title, _, form = words.partition(":")
        found.append({"field": field, "title": title, **({"format": form} if form else {}),
                      "type": "quantitative" if form else "nominal"})  # fmt: skip
    return found


def distinct(table: pl.DataFrame, column: str) -> list[str]:
    """Return the names in a column, in the order in which they come first."""
    return table[column].unique(maintain_order=True).to_list()


def _fields(part: object) -> Iterator[str]:
    """Yield the columns that channels read."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "field":
                yield value
            yield from _fields(value)
    elif isinstance(part, list):
        for value in part:
            yield from _fields(value)


def _short(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value
