"""One self-contained page, with the tables and figures behind it as files."""

import base64
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from tamt_ray.analysis.artifacts import ArtifactReader
from tamt_ray.analysis.claims.catalogue import claims_frame
from tamt_ray.analysis.figures.vega import javascript
from tamt_ray.analysis.report.blocks import Block
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.sections import (
    completeness,
    controls,
    cost,
    differences,
    losses,
    masks,
    patterns,
    scores,
    selection,
    settings,
    sizes,
    sources,
    statements,
    trust,
)
from tamt_ray.analysis.report_data import ReportData, gather
from tamt_ray.analysis.stats.averages import fractions
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record
from tamt_ray.values.version import __version__

DISTANCES = "tables/distances.parquet"
"""Also what the next report takes known distances from."""

SECTIONS: Mapping[str, Callable[[Context], Iterator[Block]]] = {
    "Scores": scores.section,
    "Paired differences": differences.section,
    "Losses against scores": losses.section,
    "Patterns": patterns.section,
    "Controls": controls.section,
    "Masks": masks.section,
    "Cost": cost.section,
    "Less training data": sizes.section,
    "What the paper says": statements.section,
    "Choice of the best evaluation": selection.section,
    "How far to trust this": trust.section,
    "Completeness": completeness.section,
    "Settings": settings.section,
    "Sources": sources.section,
}
"""The page from top to bottom, without sections that yield nothing; the first one that does stands
beside the answer on the first screen."""


def build_report(
    sweep: Sweep,
    plan: Plan,
    records: Mapping[str, Record],
    failures: Mapping[str, Failure] | None = None,
    reader: ArtifactReader | None = None,
    published: pl.DataFrame | None = None,
    commit: str = "",
) -> dict[str, bytes]:
    """Files by relative name: `report.html`, `tables/*.parquet`, `figures/*.svg` and `*.pdf`.

    The same records give the same bytes, but for the order of objects in a PDF. Scores in tables
    are fractions. Without a `reader` there are no
    distances between masks and no curves. `commit`: the commit of this software, shown.
    """
    context = Context(gather(sweep, plan, records, failures or {}, reader, published))
    data = context.data
    tables = {
        "downstream": data.results.downstream,
        "pretrain": data.results.pretrain,
        "averages": fractions(data.averages),
        "correlations": data.correlations,
        "comparisons": fractions(data.comparisons),
        "search_costs": fractions(data.costs),
        "claims": claims_frame(context.evaluated),
    }
    if reader is not None:
        tables["distances"] = data.distances
    drawn = {
        f"figures/{figure.name}.{ending}": content
        for figure in context.figures
        for ending, content in (("svg", figure.svg.encode()), ("pdf", figure.pdf))
    }
    return {
        "report.html": page(context, commit).encode(),
        **{f"tables/{name}.parquet": _parquet(table) for name, table in tables.items()},
        **drawn,
    }


def page(context: Context, commit: str = "") -> str:
    """Return the page as HTML: it asks the network for nothing, runs only its own two scripts, and
    escapes all that comes from outside."""
    drawn = {title: list(draw(context)) for title, draw in SECTIONS.items()}
    first, *others = ((title, blocks) for title, blocks in drawn.items() if blocks)
    scripts = [javascript(), _read("report.js")]
    return _environment().get_template("report.html.jinja").render(
        name=context.data.sweep.name,
        answer=context.data.answer.text,
        status=_status(context.data, commit),
        first=first,
        sections=others,
        anchor=_anchor,
        style=_read("report.css"),
        scripts=scripts,
        digests=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
    )  # fmt: skip


def _status(data: ReportData, commit: str) -> list[tuple[str, bool]]:
    """Return what stands below the answer; whether each is a warning."""
    done, planned = len(data.plan.units.keys() & data.records.keys()), len(data.plan.units)
    found = [(f"{done:,} of {planned:,} units done", done < planned)]
    if data.failures:
        found.append((f"{len(data.failures):,} failed", True))
    if data.records:
        last = max(record.started + record.seconds for record in data.records.values())
        found.append((f"results of {datetime.fromtimestamp(last, UTC):%Y-%m-%d %H:%M} UTC", False))
    return [*found, (" ".join(["tamt_ray", __version__, commit[:10]]).strip(), False)]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tamt_ray.analysis.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    # The filter `tojson` escapes `<` and `&` by itself.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    return environment


def _read(name: str) -> str:
    return files("tamt_ray.analysis.report").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _anchor(title: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))


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
