"""The table of the report that says what a pattern costs."""

import polars as pl

from tamt_ray.analysis.report.html import Html, join, table, tag
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.roles import unstructured_twins
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.analysis.stats.summary import MISSING
from tamt_ray.values.pattern import UNSTRUCTURED

_Row = dict[str, float | None]


def patterns_table(material: ReportData) -> Html:
    """Losses of each method under each pattern, and their distance from its unstructured masks."""
    twins = unstructured_twins(material.sweep.methods)
    if not twins:
        return Html("")
    patterns = {method.name: method.pattern for method in material.sweep.methods}
    blocks: list[Html] = []
    for model in material.sweep.models:
        each = material.losses.filter(pl.col("model") == model)
        found = {(row["method"], row["sparsity"]): row for row in each.iter_rows(named=True)}
        body: list[list[str]] = []
        for sparsity in material.sweep.sparsities:
            for base in dict.fromkeys(twins.values()):
                names = [base, *(name for name, twin in twins.items() if twin == base)]
                for name in names:
                    cells = [
                        _loss(found.get((name, sparsity)), found.get((base, sparsity)), loss)
                        for loss in LOSSES
                    ]
                    body.append([base, f"{sparsity * 100:.4g} %", patterns[name], *cells])
        head = ["method", "sparsity", "pattern", "MLM loss (nats)", "KD loss (cosine distance)"]
        caption = (
            f"Means over masks; in brackets the difference from the {UNSTRUCTURED} masks of the "
            "same method and sparsity."
        )
        blocks += [tag("h3", model), table(head, body, caption)]
    return join(blocks)


def _loss(
    row: dict[str, float | None] | None, base: dict[str, float | None] | None, loss: str
) -> str:
    value = row[loss] if row else None
    if value is None:
        return MISSING
    against = base[loss] if base else None
    if against is None or row is base:
        return f"{value:.3f}"
    return f"{value:.3f} ({value - against:+.3f})"
