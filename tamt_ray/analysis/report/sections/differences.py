"""Does one method beat another? Every two methods, paired."""

from typing import Any

import polars as pl

from tamt_ray.analysis.claims.verdict import percent
from tamt_ray.analysis.report.blocks import (
    NONE,
    Block,
    Fold,
    Paragraph,
    ReportTable,
    Section,
    TableCell,
    TableRow,
)
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.words import headline, interval, signed
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.stats.answer import ALPHA

_TEST = (
    "Differences are paired: same mask seed, same fine-tuning seed; a method with one mask is "
    "compared under every mask of the other. The interval treats masks and fine-tuning seeds as "
    "two crossed random factors and uses Student's t. Tasks are not resampled."
)
_NO_TEST = (
    "No difference between searched masks can be told from noise: that takes two mask seeds and "
    "two fine-tuning seeds at least."
)


def section(context: Context) -> Section:
    """Return the differences in the headline score, those of each task behind a line."""
    data = context.data
    title = "Paired differences"
    if data.comparisons.drop_nulls("effect").is_empty():
        return Section(title)
    first, *tasks = [(task, _tables(data, task)) for task in data.tasks]
    more = [Fold(f"Differences in {task}", found) for task, found in tasks]
    if data.comparisons["p"].drop_nulls().is_empty():
        words = f"All differences, without a test ({headline(first[0])})"
        return Section(title, [Paragraph(_NO_TEST), Fold(words, [*first[1], *more])])
    return Section(title, [Paragraph(_TEST), *first[1], *more])


def _tables(data: ReportData, task: str) -> list[Block]:
    """A row per pair, a column per sparsity, a table per model."""
    caption = (
        f"Mean difference in points ({headline(task)}), in brackets its 95 % interval. "
        "Bold: p < 0.05 after Holm's correction over all pairs of one model and sparsity."
    )
    found: list[Block] = []
    for (model,), each in data.comparisons.filter(pl.col("task") == task).group_by(
        "model", maintain_order=True
    ):
        sparsities = each["sparsity"].unique().sort().to_list()
        rows: list[TableRow] = []
        for (a, b), pair in each.group_by("a", "b", maintain_order=True):
            at = {row["sparsity"]: row for row in pair.iter_rows(named=True)}
            rows.append([f"{a} − {b}", *(_difference(at.get(s)) for s in sparsities)])
        title = str(model) if len(data.sweep.models) > 1 else ""
        found.append(ReportTable(["", *map(percent, sparsities)], rows, caption, title))
    return found


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
