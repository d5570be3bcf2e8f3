"""Scores on less training data."""

from collections.abc import Iterator

import polars as pl

from tamt_ray.analysis.claims.scores import advantages, shown_advantages
from tamt_ray.analysis.report.blocks import NONE, Block, Group, ReportTable, TableCell, TableRow
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.results import by_cell
from tamt_ray.analysis.stats.averages import no_better
from tamt_ray.analysis.stats.summary import CONSTANT
from tamt_ray.analysis.words import counted, removed, spread
from tamt_ray.plan.expand import DENSE


def section(context: Context) -> Iterator[Block]:
    """Yield scores by the number of training examples, and TAMT's advantage (Fig. 9)."""
    yield from context.charts("training_sizes")
    yield from _by_size(context)
    rows = [
        [f"{model}, {task}", words]
        for model, each in context.evidence.items()
        for task in each.reduced["task"].unique(maintain_order=True)
        if (words := shown_advantages(advantages(task, each)))
    ]
    caption = (
        "TAMT − IMP at 70 %, points, mean over TAMT's objectives with its 95 % interval, by the "
        "number of training examples."
    )
    if rows:
        yield ReportTable(["task", "advantage"], rows, caption, words=True)


def _by_size(context: Context) -> Iterator[Block]:
    found = context.data.reduced.drop_nulls("mean")
    sizes = found["train_size"].unique().sort(nulls_last=True).to_list()
    rows: list[TableRow] = []
    pruned = found.filter(pl.col("method") != DENSE)
    for cell, group in by_cell(pruned, "model", "task", "sparsity"):
        dense = found.filter(model=cell.model, task=cell.task, method=DENSE)
        rows.append(Group(context.named(cell.model, f"{cell.task}, {removed(cell.sparsity)}")))
        rows += [
            [of.method, *(_score(part, size) for size in sizes)]
            for of, part in by_cell(pl.concat([dense, group]), "method")
        ]
    caption = (
        "Percent, mean ± standard deviation over runs, by the number of training examples; "
        "“(n/m)”: n of m runs are there; “≤ constant”: no better than the best constant answer."
    )
    head = ["method", *("all" if size is None else f"{size:,}" for size in sizes)]
    if rows:
        yield ReportTable(head, rows, caption).shortened("Scores by number of training examples")


def _score(rows: pl.DataFrame, size: int | None) -> TableCell:
    for row in rows.filter(pl.col("train_size").eq_missing(size)).iter_rows(named=True):
        text = counted(spread(row["mean"], row["std"]), row["n"], row["n_expected"])
        return TableCell(text, warning=CONSTANT if no_better(row) else "")
    return NONE
