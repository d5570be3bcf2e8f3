"""The cost of a pattern: losses beside those of the unstructured masks."""

from tamt_ray.analysis.report.blocks import (
    NONE,
    Block,
    ReportTable,
    Section,
    TableCell,
    TableRow,
    shortened,
)
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.roles import unstructured_twins
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.values.pattern import UNSTRUCTURED


def section(context: Context) -> Section:
    """Return losses of each method under each pattern, and their distance from its unstructured
    masks."""
    data = context.data
    twins = unstructured_twins(data.sweep.methods)
    patterns = {method.name: method.pattern for method in data.sweep.methods}
    blocks: list[Block] = []
    for model in data.sweep.models if twins else ():
        each = data.losses.filter(model=model)
        found = {(row["method"], row["sparsity"]): row for row in each.iter_rows(named=True)}
        rows: list[TableRow] = []
        for sparsity in data.sweep.sparsities:
            for base in dict.fromkeys(twins.values()):
                names = [base, *(name for name, twin in twins.items() if twin == base)]
                for name in names:
                    row, other = found.get((name, sparsity)), found.get((base, sparsity))
                    cells = [_loss(row, other, loss) for loss in LOSSES]
                    rows.append([base, f"{sparsity * 100:.4g} %", patterns[name], *cells])
        head = ["method", "sparsity", "pattern", "MLM loss (nats)", "KD loss (cosine distance)"]
        caption = (
            f"Means over masks; in brackets the difference from the {UNSTRUCTURED} masks of the "
            "same method and sparsity."
        )
        table = ReportTable(head, rows, caption, model if context.several_models else "")
        blocks.append(shortened(table, "Losses by pattern"))
    return Section("Patterns", blocks)


def _loss(
    row: dict[str, float | None] | None, base: dict[str, float | None] | None, loss: str
) -> TableCell:
    value = row[loss] if row else None
    if value is None:
        return NONE
    against = base[loss] if base else None
    if against is None or row is base:
        return TableCell(f"{value:.3f}")
    return TableCell(f"{value:.3f} ({value - against:+.3f})")
