"""The masks: how sparse, how far apart, and how their searches went."""

from collections.abc import Iterator
from typing import Any

from tamt_ray.analysis.report.blocks import NONE, Block, Fold, Paragraph, ReportTable, TableCell
from tamt_ray.analysis.report.context import Context


def section(context: Context) -> Iterator[Block]:
    """Yield distances, curves of the searches, and every mask behind a line."""
    searches = context.data.searches
    found = searches.drop_nulls("zeros")
    worst = (found["zeros"] / found["weights"] - found["sparsity"]).abs().max()
    words = f"{len(found):,} of {len(searches):,} masks are there."
    if isinstance(worst, float):
        words += (
            " Between the share of zeros asked for and the share found, the largest difference is "
            f"{worst:.2g} (each matrix is rounded to a whole number of weights)."
        )
    yield Paragraph(words)
    yield from context.charts("mask_distances", "distance_over_search")
    yield from context.charts("search_losses", "density", folded=True)
    head = ["mask", "seed", "sparsity", "zeros asked", "zeros found", "steps", "search", "device"]
    several = len(context.data.sweep.models) > 1
    rows = [_mask(row, several) for row in searches.iter_rows(named=True)]
    yield Fold(f"All {len(rows):,} masks", [ReportTable(head, rows)])


def _mask(row: dict[str, Any], several: bool) -> list[TableCell | str]:
    name = f"{row['model']} {row['method']}" if several else row["method"]
    seed = NONE if row["mask_seed"] is None else str(row["mask_seed"])
    share, zeros, weights, seconds = (row[k] for k in ("sparsity", "zeros", "weights", "seconds"))
    if zeros is None or weights is None:
        return [name, seed, f"{share:.3g}", *[TableCell("–", mark="missing")] * 4, "missing"]
    steps = "0" if row["steps"] is None else f"{row['steps']:,}"
    time = NONE if seconds is None else f"{seconds:,.1f} s"
    asked = f"{round(share * weights):,}"
    return [name, seed, f"{share:.3g}", asked, f"{zeros:,}", steps, time, str(row["device"])]
