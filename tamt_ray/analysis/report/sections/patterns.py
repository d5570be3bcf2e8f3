"""The cost of a pattern: losses beside those of the unstructured masks."""

from collections.abc import Iterator, Mapping

from tamt_ray.analysis.report.blocks import NONE, Block, ReportTable, TableCell
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.roles import unstructured_twins
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.analysis.words import percent
from tamt_ray.values.pattern import UNSTRUCTURED


def section(context: Context) -> Iterator[Block]:
    """Yield losses of each method under each pattern, and their distance from its unstructured
    masks."""
    data = context.data
    twins = unstructured_twins(data.sweep.methods)
    patterns = {method.name: method.pattern for method in data.sweep.methods}
    head = ["method", "sparsity", "pattern", "MLM loss (nats)", "KD loss (cosine distance)"]
    caption = (
        f"Means over masks; in brackets the difference from the {UNSTRUCTURED} masks of the "
        "same method and sparsity."
    )
    for model in data.sweep.models if twins else ():
        each = data.losses.filter(model=model)
        found = {(row["method"], row["sparsity"]): row for row in each.iter_rows(named=True)}
        rows = [
            [base, percent(sparsity), patterns[name],
             *(_loss(found.get((name, sparsity)), found.get((base, sparsity)), loss)
               for loss in LOSSES)]
            for sparsity in data.sweep.sparsities
            for base in dict.fromkeys(twins.values())
            for name in (base, *(name for name, twin in twins.items() if twin == base))
        ]  # fmt: skip
        table = ReportTable(head, rows, caption, context.named(model))
        yield table.shortened("Losses by pattern")


def _loss(
    row: Mapping[str, float | None] | None, base: Mapping[str, float | None] | None, loss: str
) -> TableCell:
    value = row[loss] if row else None
    if value is None:
        return NONE
    against = base[loss] if base else None
    if against is None or row is base:
        return TableCell(f"{value:.3f}")
    return TableCell(f"{value:.3f} ({value - against:+.3f})")
