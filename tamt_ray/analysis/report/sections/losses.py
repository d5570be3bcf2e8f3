"""Pre-training losses, and whether they foretell scores."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from tamt_ray.analysis.figures.losses import ENOUGH
from tamt_ray.analysis.report.blocks import (
    MISSING,
    Block,
    Fold,
    Group,
    ReportTable,
    Section,
    TableCell,
    TableRow,
    shortened,
)
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.words import headline, number, removed
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.stats.correlation import LOSSES, interval_words
from tamt_ray.plan.expand import DENSE

_NAMES = {"mlm_loss": "MLM", "kd_loss": "KD"}


def section(context: Context) -> Section:
    """Return losses, clouds and correlations; clouds of few points are folded."""
    data = context.data
    first = data.tasks[0] if data.tasks else None
    tables: list[Block] = []
    for task in data.tasks:
        table = _correlations(data, task)
        if not table.rows:
            continue
        few = data.correlations.filter(task=task)["n"].max()
        folded = task != first or (isinstance(few, int) and few < ENOUGH)
        title = f"Correlations with {headline(task)}"
        words = f"{title} ({few} points)"
        tables.append(Fold(words, [table]) if folded else shortened(table, title))
    blocks: list[Block] = [
        shortened(_losses(context, model), f"Losses of {model}") for model in data.sweep.models
    ]
    return Section(
        "Losses against scores",
        [
            *blocks,
            *context.charts("losses_by_sparsity"),
            *context.charts(
                "pretraining_vs_downstream", "mlm_loss_by_task", "kd_loss_by_task", folded=True
            ),
            *tables,
        ],
    )


def _losses(context: Context, model: str) -> ReportTable:
    """MLM and KD loss of every method, a block per sparsity, the lowest of a block marked."""
    data = context.data
    rows: list[TableRow | Group] = []
    groups = data.losses.filter(model=model).sort("sparsity", maintain_order=True)
    for group in groups.partition_by("sparsity", maintain_order=True):
        dense = group["method"][0] == DENSE
        if len(data.sweep.sparsities) > 1:
            rows.append(Group("dense model" if dense else removed(group["sparsity"][0])))
        lowest = {loss: group[loss].min() for loss in LOSSES}
        for row in group.iter_rows(named=True):
            cells = [
                _loss(row, loss, len(group) > 1 and row[loss] == lowest[loss]) for loss in LOSSES
            ]
            n, expected = row["n"], row["n_expected"]
            rows.append([row["method"], *cells, f"{n}" if n == expected else f"{n} of {expected}"])
    caption = (
        "Mean ± standard deviation over masks; lower is better; bold: the lowest of its sparsity. "
        "All subnetworks were asked for the same masked positions."
    )
    head = ["method", "MLM loss (nats)", "KD loss (cosine distance)", "masks"]
    return ReportTable(head, rows, caption, model if context.several_models else "")


def _loss(row: dict[str, Any], loss: str, best: bool) -> TableCell:
    if row[loss] is None:
        return MISSING
    std = row[f"{loss.removesuffix('_loss')}_std"]
    spread = "" if std is None else f" ± {number(std, 3)}"
    return TableCell(f"{number(row[loss], 3)}{spread}", mark="best" if best else "")


def _correlations(data: ReportData, task: str) -> ReportTable:
    rows: list[TableRow | Group] = []
    for (model, loss), group in data.correlations.filter(task=task).group_by(
        "model", "loss", maintain_order=True
    ):
        words = f"{_NAMES[str(loss)]} loss"
        rows.append(Group(f"{model}, {words}" if len(data.sweep.models) > 1 else words))
        rows += _scopes(group)
    caption = (
        f"Correlation of a pre-training loss with the score ({headline(task)}), over subnetworks; "
        "in brackets bootstrap 95 % intervals, which resample all masks of one method at one "
        "sparsity together."
    )
    return ReportTable(["points", "Pearson r", "Spearman ρ", "Kendall τ", "n"], rows, caption)


def _scopes(group: pl.DataFrame) -> Iterator[TableRow]:
    for (scope, sparsity), part in group.group_by("scope", "sparsity", maintain_order=True):
        rows = part.to_dicts()
        at = "" if sparsity is None else f"{float(str(sparsity)) * 100:.4g} %"
        words = {
            "all": "all, with the dense model",
            "subnetworks": "all subnetworks",
            "chosen": f"{at} removed, without random masks",
        }.get(str(scope), f"{at} removed")
        n, expected, partial = rows[0]["n"], rows[0]["n_expected"], rows[0]["n_partial"]
        count = f"{n}" if n == expected else f"{n} of {expected}"
        warning = f"{partial} with runs missing" if partial else ""
        if rows[0]["reason"]:
            cells = [TableCell("–", rows[0]["reason"], "missing")] * 3
        else:
            cells = [TableCell(number(row["value"], 2), interval_words(row)) for row in rows]
        yield [words, *cells, TableCell(count, warning=warning)]
