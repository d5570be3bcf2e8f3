"""Scores on less training data."""

import polars as pl

from tamt_ray.analysis.claims.scores import advantages, shown_advantages
from tamt_ray.analysis.report.blocks import (
    NONE,
    Block,
    Group,
    ReportTable,
    Section,
    TableCell,
    TableRow,
    shortened,
)
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.words import removed
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.stats.baselines import no_better
from tamt_ray.analysis.stats.summary import CONSTANT, counted, spread
from tamt_ray.plan.expand import DENSE


def section(context: Context) -> Section:
    """Return scores by the number of training examples, and TAMT's advantage (Fig. 9)."""
    tables = [*_by_size(context.data), *_advantages(context)]
    return Section("Less training data", [*context.charts("training_sizes"), *tables])


def _by_size(data: ReportData) -> list[Block]:
    found = data.reduced.drop_nulls("mean")
    sizes = found["train_size"].unique().sort(nulls_last=True).to_list()
    rows: list[TableRow | Group] = []
    for (model, task, sparsity), group in found.filter(pl.col("method") != DENSE).group_by(
        "model", "task", "sparsity", maintain_order=True
    ):
        dense = found.filter(model=model, task=task, method=DENSE)
        words = f"{task}, {removed(float(str(sparsity)))}"
        rows.append(Group(f"{model}, {words}" if len(data.sweep.models) > 1 else words))
        rows += [
            [str(method), *(_score(part, size) for size in sizes)]
            for (method,), part in pl.concat([dense, group]).group_by("method", maintain_order=True)
        ]
    if not rows:
        return []
    caption = (
        "Percent, mean ± standard deviation over runs, by the number of training examples; "
        "“(n/m)”: n of m runs are there; “≤ constant”: no better than the best constant answer."
    )
    head = ["method", *("all" if size is None else f"{size:,}" for size in sizes)]
    return [shortened(ReportTable(head, rows, caption), "Scores by number of training examples")]


def _score(rows: pl.DataFrame, size: int | None) -> TableCell:
    row = rows.filter(pl.col("train_size").eq_missing(size)).to_dicts()
    if not row:
        return NONE
    text = counted(spread(row[0]["mean"], row[0]["std"]), row[0]["n"], row[0]["n_expected"])
    return TableCell(text, warning=CONSTANT if no_better(row[0]) else "")


def _advantages(context: Context) -> list[Block]:
    rows: list[TableRow] = []
    for model, each in context.evidence.items():
        for task in each.reduced["task"].unique(maintain_order=True):
            if words := shown_advantages(advantages(task, each)):
                rows.append([f"{model}, {task}", words])
    caption = (
        "TAMT − IMP at 70 %, points, mean over TAMT's objectives with its 95 % interval, by the "
        "number of training examples."
    )
    return [ReportTable(["task", "advantage"], rows, caption, words=True)] if rows else []
