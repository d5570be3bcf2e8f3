"""Pre-training losses, and whether they foretell scores."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from tamt_ray.analysis.figures.losses import MIN_POINTS
from tamt_ray.analysis.report import blocks
from tamt_ray.analysis.report.blocks import Block, Group, TableCell, TableRow
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.results import by_cell
from tamt_ray.analysis.stats.averages import title_of
from tamt_ray.analysis.stats.correlation import LOSSES
from tamt_ray.analysis.words import interval, number, of_expected, percent, removed, spread
from tamt_ray.plan.expand import DENSE

_NAMES = {"mlm_loss": "MLM", "kd_loss": "KD"}
_SCOPES = {
    "all": "all, with the dense model",
    "subnetworks": "all subnetworks",
    "sparsity": "{} removed",
    "chosen": "{} removed, without random masks",
}


def section(context: Context) -> Iterator[Block]:
    """Yield losses, clouds and correlations; clouds of few points are folded."""
    data = context.data
    for model in data.sweep.models:
        yield _losses(context, model).shortened(f"Losses of {model}")
    yield from context.charts("losses_by_sparsity")
    yield from context.charts(
        "pretraining_vs_downstream", "mlm_loss_by_task", "kd_loss_by_task", folded=True
    )
    for task in data.tasks:
        table, few = _correlations(context, task), data.correlations.filter(task=task)["n"].max()
        title = f"Correlations with {title_of(task)}"
        if table.rows and (task != data.tasks[0] or (isinstance(few, int) and few < MIN_POINTS)):
            yield blocks.Fold(f"{title} ({few} points)", [table])
        elif table.rows:
            yield table.shortened(title)


def _losses(context: Context, model: str) -> blocks.ReportTable:
    """MLM and KD loss of every method, a block per sparsity, the lowest of a block marked."""
    rows: list[TableRow] = []
    groups = context.data.losses.filter(model=model).sort("sparsity", maintain_order=True)
    for cell, group in by_cell(groups, "sparsity"):
        if len(context.data.sweep.sparsities) > 1:
            dense = group["method"][0] == DENSE
            rows.append(Group("dense model" if dense else removed(cell.sparsity)))
        lowest = {loss: group[loss].min() for loss in LOSSES}
        for row in group.iter_rows(named=True):
            cells = [
                _loss(row, loss, len(group) > 1 and row[loss] == lowest[loss]) for loss in LOSSES
            ]
            rows.append([row["method"], *cells, of_expected(row["n"], row["n_expected"])])
    caption = (
        "Mean ± standard deviation over masks; lower is better; bold: the lowest of its sparsity. "
        "All subnetworks were asked for the same masked positions."
    )
    head = ["method", "MLM loss (nats)", "KD loss (cosine distance)", "masks"]
    return blocks.ReportTable(head, rows, caption, context.named(model))


def _loss(row: dict[str, Any], loss: str, best: bool) -> TableCell:
    if row[loss] is None:
        return blocks.MISSING_CELL
    std = row[f"{loss.removesuffix('_loss')}_std"]
    return TableCell(spread(row[loss], std, 3), mark="best" if best else "")


def _correlations(context: Context, task: str) -> blocks.ReportTable:
    rows: list[TableRow] = []
    found = context.data.correlations.filter(task=task)
    for (model, loss), group in found.group_by("model", "loss", maintain_order=True):
        rows.append(Group(context.named(str(model), f"{_NAMES[str(loss)]} loss")))
        rows += _scopes(group)
    caption = (
        f"Correlation of a pre-training loss with the score ({title_of(task)}), over subnetworks; "
        "in brackets bootstrap 95 % intervals, which resample all masks of one method at one "
        "sparsity together."
    )
    head = ["points", "Pearson r", "Spearman ρ", "Kendall τ", "n"]
    return blocks.ReportTable(head, rows, caption)


def _scopes(group: pl.DataFrame) -> Iterator[TableRow]:
    for part in group.partition_by("scope", "sparsity", maintain_order=True):
        rows = part.to_dicts()
        first, partial = rows[0], rows[0]["n_partial"]
        words = _SCOPES[first["scope"]].format(percent(first["sparsity"] or 0))
        if first["reason"]:
            cells = [TableCell("–", first["reason"], "missing")] * 3
        else:
            cells = [
                TableCell(number(row["value"], 2), interval(row["low"], row["high"], 2))
                for row in rows
            ]
        warning = f"{partial} with runs missing" if partial else ""
        count = of_expected(first["n"], first["n_expected"])
        yield [words, *cells, TableCell(count, warning=warning)]
