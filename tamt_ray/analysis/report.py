"""One self-contained page, with the tables and figures behind it as files."""

import base64
import io
from collections.abc import Mapping
from importlib.resources import files

import polars as pl
from matplotlib.figure import Figure

from tamt_ray.analysis.averages import AVERAGE
from tamt_ray.analysis.closing import caveats, configuration, sources
from tamt_ray.analysis.figures import main_results, pretraining_vs_downstream, to_png, to_svg
from tamt_ray.analysis.html import Html, folded, tag
from tamt_ray.analysis.material import Material, gather
from tamt_ray.analysis.opening import in_short, opening
from tamt_ray.analysis.tables import correlations_table, losses_table, masks_table, scores_table
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record

_MAIN = (
    "The dashed line is the dense model. {form} Hollow markers: some runs are missing; a gap: all "
    "are. Intervals: percentile bootstrap of the mean, 95 %, masks resampled first and "
    "fine-tuning runs within them; none where there is a single run."
)
_CURVES = "Score over the share of weights removed, a colour a method, bands for intervals."
_DOTS = (
    "One row a method: the large marker and number are the mean, the bar its interval, the small "
    "dots below single runs."
)
_CLOUD = (
    "Each marker is a subnetwork: its loss on the pre-training validation text against its "
    "downstream score, mean over fine-tuning seeds. Colour: method; shape: sparsity; star: the "
    "dense model. Over each panel Pearson's r, Spearman's ρ and Kendall's τ over all points with "
    "bootstrap 95 % intervals. Hollow: some runs are missing."
)


def build_report(
    sweep: Sweep,
    plan: Plan,
    records: Mapping[str, Record],
    failures: Mapping[str, Failure] | None = None,
) -> dict[str, bytes]:
    """Files by relative name: `report.html`, `tables/*.parquet`, `figures/*.png`.

    The same records give the same bytes. Scores in tables/downstream are fractions, in
    tables/averages percent.
    """
    material = gather(sweep, plan, records, failures or {})
    scores = main_results(material.averages, material.runs)
    cloud = pretraining_vs_downstream(material.points, material.correlations)
    return {
        "report.html": _page(material, scores, cloud).encode(),
        "tables/downstream.parquet": _parquet(material.results.downstream),
        "tables/pretrain.parquet": _parquet(material.results.pretrain),
        "tables/averages.parquet": _parquet(material.averages),
        "tables/correlations.parquet": _parquet(material.correlations),
        "figures/main_results.png": to_png(scores),
        "figures/pretraining_vs_downstream.png": to_png(cloud),
    }


def _page(material: Material, scores: Figure, cloud: Figure) -> str:
    style = files("tamt_ray.analysis").joinpath("report.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{material.sweep.name} · tamt_ray"),
        tag("style", Html(style)),
    )
    end = [caveats(material), sources(material), configuration(material)]
    body = tag("body", opening(material), *_middle(material, scores, cloud), *end)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _middle(material: Material, scores: Figure, cloud: Figure) -> list[Html]:
    pretrain = [tag("h2", "Pre-training losses"), losses_table(material)]
    masks = [tag("h2", "Masks"), masks_table(material)]
    if not material.tasks:
        return [*pretrain, *masks]
    several = len(material.sweep.sparsities) > 1
    caption = _MAIN.format(form=_CURVES if several else _DOTS)
    figure = _figure(scores, "Downstream score of every method", caption)
    # Over many sparsities the table is long, and the figure says it sooner.
    headline: list[Html] = [scores_table(material), figure]
    return [
        in_short(material),
        tag("h2", "Downstream scores"),
        *(reversed(headline) if several else headline),
        *pretrain,
        tag("h2", "Pre-training against downstream"),
        _figure(cloud, "Pre-training loss against downstream score", _CLOUD),
        *_task_clouds(material),
        correlations_table(material),
        *masks,
    ]


def _task_clouds(material: Material) -> list[Html]:
    tasks = [task for task in material.tasks if task != AVERAGE]
    if len(tasks) < 2:
        return []
    found: list[Html] = []
    for model in material.sweep.models:
        points = material.points.filter(pl.col("model") == model)
        each = pretraining_vs_downstream(points, material.correlations, tasks)
        title = f"Pre-training loss against each task, {model}"
        found.append(folded(title, _figure(each, title, _CLOUD, small=True)))
    return found


def _figure(figure: Figure, title: str, caption: str, *, small: bool = False) -> Html:
    """The figure inside the page: lines as SVG, or many markers (`small`) as PNG."""
    kind, image = ("png", to_png(figure)) if small else ("svg+xml", to_svg(figure))
    data = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    words = tag("figcaption", tag("b", f"{title}. "), caption)
    shown = tag(
        "img", src=data, alt=f"{title}. {caption}", width=f"{figure.get_figwidth() * 96:.0f}"
    )
    return tag("figure", tag("div", shown, class_="scroll"), words)


def _parquet(table: pl.DataFrame) -> bytes:
    """Rows sorted by their labels, nulls first."""
    labels = [
        name
        for name in ("model", "method", "sparsity", "mask_seed", "task", "loss", "scope", "seed",
                     "statistic")
        if name in table.columns
    ]  # fmt: skip
    buffer = io.BytesIO()
    table.sort(labels, maintain_order=True).write_parquet(buffer)
    return buffer.getvalue()
