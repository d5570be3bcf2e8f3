"""The scores: what the first screen shows below the answer."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from tamt_ray.analysis.report.blocks import (
    MISSING,
    NONE,
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
from tamt_ray.analysis.report.words import headline, interval, number, removed
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.stats.averages import AVERAGE
from tamt_ray.analysis.stats.baselines import no_better
from tamt_ray.analysis.stats.summary import CONSTANT
from tamt_ray.plan.expand import DENSE

_BASELINE = "best constant answer"
_CAPTION = (
    "Percent, mean ± standard deviation over runs; bold: the highest of its sparsity, which is no "
    "test of a difference; “≤ constant”: no better than the best constant answer."
)


def section(context: Context) -> Section:
    """Return the headline table and the main figure."""
    data = context.data
    if not data.tasks:
        return Section("Scores")
    pruned = data.averages.filter(pl.col("method") != DENSE)
    headline_only = pruned.filter(task=data.tasks[0])["sparsity"].n_unique()
    # A part of a union that lacks a task has no average at its sparsities.
    several = pruned["sparsity"].n_unique() == headline_only > 1
    blocks: list[Block] = []
    details: list[Block] = []
    for model in data.sweep.models:
        title = model if context.several_models else ""
        whole = _by_task(data, model, title)
        blocks.append(_by_sparsity(data, model, title) if several else shortened(whole, "Scores"))
        if several and len(data.tasks) > 1:
            details.append(whole)
    if details:
        details = [Fold("Scores of each task", details)]
    return Section("Scores", [*blocks, *context.charts("main_results"), *_more(context), *details])


def _more(context: Context) -> list[Block]:
    return context.charts("pruning_alone", "models_compared", folded=True)


def _by_task(data: ReportData, model: str, title: str) -> ReportTable:
    """Method × task, a block per sparsity: the dense model first, then falling in the headline."""
    tasks, each = data.tasks, data.averages.filter(model=model)
    found = {(r["method"], r["sparsity"], r["task"]): r for r in each.iter_rows(named=True)}
    best = _best(each)
    several = each.filter(pl.col("method") != DENSE)["sparsity"].n_unique() > 1
    rows: list[TableRow | Group] = []
    for sparsity in each["sparsity"].unique().sort():
        methods = each.filter(sparsity=sparsity)["method"].unique(maintain_order=True).to_list()
        means = {m: (found.get((m, sparsity, tasks[0])) or {}).get("mean") for m in methods}
        if several:
            rows.append(Group("dense model" if methods == [DENSE] else removed(sparsity)))
        for method in sorted(methods, key=lambda m: -(means[m] or 0)):
            here = {task: found.get((method, sparsity, task)) for task in tasks}
            # A cell that no part of a union asks for is not missing.
            cells = [
                _score(row, (method, sparsity, task) in best, long=True) if row else NONE
                for task, row in here.items()
            ]
            n, expected = next((row["n"], row["n_expected"]) for row in here.values() if row)
            rows.append([method, *cells, f"{n}" if n == expected else f"{n} of {expected}"])
    constant = _constants(each)
    if constant:
        cells = [
            TableCell(number(constant[t]), mark="soft") if t in constant else NONE for t in tasks
        ]
        rows.append([TableCell(_BASELINE, mark="soft"), *cells, NONE])
    head = ["method", *(headline(t) if t == AVERAGE else t for t in tasks), "runs"]
    caption = (
        f"{_CAPTION} In brackets the 95 % interval of the mean, where there are two seeds of each "
        "kind."
    )
    return ReportTable(head, rows, caption, title)


def _by_sparsity(data: ReportData, model: str, title: str) -> ReportTable:
    """Method × sparsity of the headline score."""
    task = data.tasks[0]
    each = data.averages.filter(model=model, task=task)
    found = {(r["method"], r["sparsity"]): r for r in each.iter_rows(named=True)}
    best = _best(each)
    sparsities = each.filter(pl.col("method") != DENSE)["sparsity"].unique().sort().to_list()
    rows: list[TableRow] = []
    for method in each["method"].unique(maintain_order=True):
        cells = []
        for sparsity in sparsities:
            row = found.get((method, 0.0 if method == DENSE else sparsity))
            cells.append(_score(row, (method, sparsity, task) in best) if row else NONE)
        of = each.filter(method=method)
        n, expected = of["n"].sum(), of["n_expected"].sum()
        rows.append([method, *cells, f"{n:,}" if n == expected else f"{n:,} of {expected:,}"])
    constant = _constants(each).get(task)
    if constant is not None:
        cells = [TableCell(number(constant), mark="soft")] * len(sparsities)
        rows.append([TableCell(_BASELINE, mark="soft"), *cells, NONE])
    head = ["method", *(f"{sparsity * 100:.4g} %" for sparsity in sparsities), "runs"]
    caption = f"Score ({headline(task)}) over the share of weights removed. {_CAPTION}"
    return ReportTable(head, rows, caption, title)


def _best(averages: pl.DataFrame) -> set[tuple[str, float, str]]:
    """(method, sparsity, task) with the highest mean among two or more, ties included."""
    present = averages.filter(pl.col("method") != DENSE).drop_nulls("mean")
    group = ["sparsity", "task"]
    top = present.filter(
        (pl.col("mean") == pl.col("mean").max().over(group)) & (pl.len().over(group) > 1)
    )
    return set(top.select("method", "sparsity", "task").iter_rows())


def _constants(averages: pl.DataFrame) -> Mapping[str, float]:
    known = averages.group_by("task").agg(pl.col("baseline").max()).drop_nulls()
    return dict(known.iter_rows())


def _score(row: dict[str, Any], best: bool, *, long: bool = False) -> TableCell:
    if row["mean"] is None:
        gone = f"missing: {row['missing_tasks']}" if row["task"] == AVERAGE else "missing"
        return TableCell(MISSING.text, gone, "missing")
    spread = "" if row["std"] is None else f" ± {number(row['std'])}"
    reach = interval(row["low"], row["high"])
    warnings = [CONSTANT] if no_better(row) else []
    if row["missing"]:
        warnings.append(f"{row['n']} of {row['n_expected']} runs")
    return TableCell(
        f"{number(row['mean'])}{spread}",
        reach if long else "",
        "best" if best else "",
        f"95 % interval {reach}" if reach else "one seed of a kind: no interval",
        ", ".join(warnings),
    )
