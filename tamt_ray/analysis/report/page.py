"""One self-contained page, with the tables and figures behind it as files."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files

import polars as pl

from tamt_ray.analysis.artifacts import ArtifactReader
from tamt_ray.analysis.claims.catalogue import Judged, claims_frame, judge_claims
from tamt_ray.analysis.claims.evidence import Evidence, gather_evidence
from tamt_ray.analysis.figures.main import pretraining_vs_downstream, to_png, to_svg
from tamt_ray.analysis.figures.paper_figures import PaperFigure, paper_figures
from tamt_ray.analysis.report.answers import (
    advantages_table,
    claims_table,
    comparisons_table,
    costs_table,
    reduced_table,
)
from tamt_ray.analysis.report.closing import caveats, configuration, sources
from tamt_ray.analysis.report.html import Html, contents, folded, join, section, tag
from tamt_ray.analysis.report.opening import in_short, opening
from tamt_ray.analysis.report.patterns import patterns_table
from tamt_ray.analysis.report.selection import selection_table
from tamt_ray.analysis.report.settings import (
    datasets_table,
    iterations_table,
    methods_table,
    times_table,
    travels_table,
)
from tamt_ray.analysis.report.tables import (
    correlations_table,
    losses_table,
    masks_table,
    scores_table,
)
from tamt_ray.analysis.report_data import ReportData, gather
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record

DISTANCES = "tables/distances.parquet"
"""Also what the next report takes known distances from."""

_CLOUD = (
    "Each marker is a subnetwork: its loss on the pre-training validation text against its "
    "downstream score, mean over fine-tuning seeds. Colour: method; shape: sparsity; star: the "
    "dense model. Over each panel Pearson's r, Spearman's ρ and Kendall's τ over all points with "
    "bootstrap 95 % intervals. Hollow: some runs are missing."
)
_PLACES = {
    "Downstream scores": ("main_results", "pruning_alone", "models_compared"),
    "Pre-training against downstream": (
        "pretraining_vs_downstream", "losses_by_sparsity", "mlm_loss_by_task", "kd_loss_by_task",
    ),
    "What a search takes": ("search_cost", "initialisation"),
    "Less training data": ("training_sizes",),
    "Masks": ("mask_distances", "distance_over_search"),
    "How the searches went": ("search_losses", "density"),
}  # fmt: skip
"""The section of each figure, by the beginning of its name."""
_LONG = ("search_cost_by_task", "mlm_loss_by_task", "kd_loss_by_task")
"""Figures behind a click."""
_LINES = ("main_results",)
"""Figures of few lines, sharp at any size."""


def build_report(
    sweep: Sweep,
    plan: Plan,
    records: Mapping[str, Record],
    failures: Mapping[str, Failure] | None = None,
    shelf: ArtifactReader | None = None,
    published: pl.DataFrame | None = None,
) -> dict[str, bytes]:
    """Files by relative name: `report.html`, `tables/*.parquet`, `figures/*.png`.

    The same records give the same bytes. Scores in tables/downstream are fractions, in all other
    tables percent. Without a `shelf` there are no distances between masks and no curves.
    """
    material = gather(sweep, plan, records, failures or {}, shelf, published)
    figures = {figure.name: (figure, to_png(figure.figure)) for figure in _figures(material)}
    evidence = gather_evidence(material) if material.tasks else {}
    judged = judge_claims(evidence) if evidence else []
    tables = {
        "downstream": material.results.downstream,
        "pretrain": material.results.pretrain,
        "averages": material.averages,
        "correlations": material.correlations,
        "comparisons": material.comparisons,
        "search_costs": material.costs,
        "claims": claims_frame(judged),
    }
    if shelf is not None:
        tables["distances"] = material.distances
    return {
        "report.html": _page(material, figures, evidence, judged).encode(),
        **{f"tables/{name}.parquet": _parquet(table) for name, table in tables.items()},
        **{f"figures/{name}.png": image for name, (_, image) in figures.items()},
    }


def _figures(material: ReportData) -> list[PaperFigure]:
    """The paper's, and the one that pools all sparsities."""
    found = paper_figures(material)
    if material.tasks:
        pooled = pretraining_vs_downstream(material.points, material.correlations)
        title = "Pre-training loss against downstream score"
        found.append(PaperFigure("pretraining_vs_downstream", "", title, _CLOUD, pooled))
    return found


Drawn = Mapping[str, tuple[PaperFigure, bytes]]


def _page(
    material: ReportData, figures: Drawn, evidence: Mapping[str, Evidence], judged: Judged
) -> str:
    style = files("tamt_ray.analysis").joinpath("report.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{material.sweep.name} · tamt_ray"),
        tag("style", Html(style)),
    )
    every = _sections(material, figures, evidence, judged)
    sections = {title: content for title, content in every.items() if content}
    body = tag(
        "body",
        opening(material, contents(sections)),
        *(section(title, content) for title, content in sections.items()),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sections(
    material: ReportData, figures: Drawn, evidence: Mapping[str, Evidence], judged: Judged
) -> dict[str, Html]:
    """Titles and contents, in order; empty ones are left out of the page."""
    places = {title: _placed(names, figures) for title, names in _PLACES.items()}
    head: dict[str, Html] = {}
    if material.tasks:
        # Over many sparsities the table is long, and the figure says it sooner.
        scores = [scores_table(material), places["Downstream scores"]]
        several = len(material.sweep.sparsities) > 1
        head = {
            "In short": in_short(material),
            "What the paper says": claims_table(judged),
            "Downstream scores": join(reversed(scores) if several else scores),
            "Paired differences": comparisons_table(material),
            "Pre-training losses": losses_table(material),
            "Pre-training against downstream": join(
                [places["Pre-training against downstream"], correlations_table(material)]
            ),
        }
    else:
        head = {"Pre-training losses": losses_table(material)}
    return {
        **head,
        "What a search takes": join(
            [
                places["What a search takes"],
                costs_table(material),
                iterations_table(material),
                times_table(material),
            ]
        ),
        "Less training data": join(
            [places["Less training data"], reduced_table(material), advantages_table(evidence)]
        ),
        "Patterns": patterns_table(material),
        "Masks": join([places["Masks"], masks_table(material)]),
        "How the searches went": places["How the searches went"],
        "Settings": join(
            [datasets_table(material), methods_table(material), travels_table(material)]
        ),
        "Choice of the best evaluation": selection_table(material),
        "How far to trust this": caveats(material),
        "Sources": sources(material),
        "The sweep": configuration(material),
    }


def _placed(names: Sequence[str], figures: Drawn) -> Html:
    """The figures whose names begin with these, in the order given."""
    return join(
        _figure(figure, image)
        for name in names
        for figure, image in figures.values()
        if figure.name.startswith(name)
    )


def _figure(drawn: PaperFigure, image: bytes) -> Html:
    """The figure inside the page: few lines as SVG, all else as the PNG beside the page."""
    kind, image = ("svg+xml", to_svg(drawn.figure)) if drawn.name in _LINES else ("png", image)
    data = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    numbers = f" (paper: {drawn.numbers})" if drawn.numbers else ""
    words = tag("figcaption", tag("b", f"{drawn.title}. "), f"{drawn.caption}{numbers}")
    width = f"{drawn.figure.get_figwidth() * 96:.0f}"
    shown = tag("img", src=data, alt=f"{drawn.title}. {drawn.caption}", width=width)
    whole = tag("figure", tag("div", shown, class_="scroll"), words)
    return folded(drawn.title, whole) if drawn.name.startswith(_LONG) else whole


def _parquet(table: pl.DataFrame) -> bytes:
    """Rows sorted by their labels, nulls first."""
    labels = [
        name
        for name in ("model", "method", "sparsity", "mask_seed", "checkpoint", "task",
                     "train_size", "loss", "scope", "seed", "statistic")
        if name in table.columns
    ]  # fmt: skip
    buffer = io.BytesIO()
    table.sort(labels, maintain_order=True).write_parquet(buffer)
    return buffer.getvalue()
