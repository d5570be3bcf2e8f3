"""Does one method beat another? Every two methods, paired."""

from collections.abc import Iterator
from typing import Any

from tamt_ray.analysis.report.blocks import NONE, Block, Fold, Paragraph, ReportTable, TableCell
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.results import by_cell
from tamt_ray.analysis.stats.averages import title_of
from tamt_ray.analysis.stats.effect import ALPHA
from tamt_ray.analysis.words import interval, percent, signed

_TEST = (
    "Differences are paired: same mask seed, same fine-tuning seed; a method with one mask is "
    "compared under every mask of the other. The interval treats masks and fine-tuning seeds as "
    "two crossed random factors and uses Student's t. Tasks are not resampled."
)
_NO_TEST = (
    "No difference between searched masks can be told from noise: that takes two mask seeds and "
    "two fine-tuning seeds at least."
)


def section(context: Context) -> Iterator[Block]:
    """Yield the differences in the headline score, those of each task behind a line."""
    data = context.data
    if data.comparisons.drop_nulls("effect").is_empty():
        return
    headline, *tasks = data.tasks
    first = list(_tables(context, headline))
    more = [Fold(f"Differences in {task}", [*_tables(context, task)]) for task in tasks]
    if data.comparisons["p"].drop_nulls().is_empty():
        yield Paragraph(_NO_TEST)
        words = f"All differences, without a test ({title_of(headline)})"
        yield Fold(words, [*first, *more])
    else:
        yield from [Paragraph(_TEST), *first, *more]


def _tables(context: Context, task: str) -> Iterator[Block]:
    """Yield a row per pair, a column per sparsity, a table per model."""
    caption = (
        f"Mean difference in points ({title_of(task)}), in brackets its 95 % interval. "
        "Pairs without a common run are left out. "
        "Bold: p < 0.05 after Holm's correction over all pairs of one model and sparsity."
    )
    for cell, each in by_cell(context.data.comparisons.filter(task=task), "model"):
        sparsities = each["sparsity"].unique().sort().to_list()
        rows: list[list[TableCell | str]] = []
        for (a, b), pair in each.group_by("a", "b", maintain_order=True):
            if pair["effect"].null_count() == len(pair):
                continue
            at = {row["sparsity"]: row for row in pair.iter_rows(named=True)}
            rows.append([f"{a} − {b}", *(_difference(at.get(s)) for s in sparsities)])
        yield ReportTable(["", *map(percent, sparsities)], rows, caption, context.named(cell.model))


def _difference(row: dict[str, Any] | None) -> TableCell:
    if row is None or row["effect"] is None:
        return NONE if row is None else TableCell("–", mark="missing")
    warnings = [row["reason"]] if row["low"] is None else []
    pairs = (row["masks"] or 0) * (row["runs"] or 0)
    if pairs and pairs < (row["n_expected"] or 0):
        warnings.append(f"{pairs} of {row['n_expected']} pairs")
    p = row["p_holm"]
    return TableCell(
        signed(row["effect"]),
        interval(row["low"], row["high"]),
        "best" if p is not None and p < ALPHA else "",
        "" if p is None else f"p after Holm's correction {p:.2g}",
        ", ".join(warnings),
    )
