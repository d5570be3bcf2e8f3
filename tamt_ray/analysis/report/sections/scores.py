"""The scores: what the first screen shows below the answer."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from tamt_ray.analysis.report.blocks import NONE, Block, Fold, Group, ReportTable, TableCell
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.stats.averages import AVERAGE, no_better, title_of
from tamt_ray.analysis.stats.summary import CONSTANT
from tamt_ray.analysis.words import interval, number, of_expected, percent, removed, spread
from tamt_ray.plan.expand import DENSE

_CAPTION = (
    "Percent, mean ± standard deviation over runs; bold: the highest of its sparsity, which is no "
    "test of a difference; “≤ constant”: no better than the best constant answer."
)

ONE_SEED = "one seed"
"""Below a score without an interval."""


def section(context: Context) -> Iterator[Block]:
    """Yield the headline table and the main figure."""
    data = context.data
    if not data.tasks:
        return
    pruned = data.averages.filter(pl.col("method") != DENSE)
    headline_only = pruned.filter(task=data.tasks[0])["sparsity"].n_unique()
    # A part of a union that lacks a task has no average at its sparsities.
    several = pruned["sparsity"].n_unique() == headline_only > 1
    whole = [_by_task(context, model) for model in data.sweep.models]
    if several:
        yield from (_by_sparsity(context, model) for model in data.sweep.models)
    else:
        yield from (table.shortened("Scores") for table in whole)
    yield from context.charts("main_results")
    yield from context.charts("pruning_alone", "models_compared", folded=True)
    if several and len(data.tasks) > 1:
        yield Fold("Scores of each task", whole)


def _by_task(context: Context, model: str) -> ReportTable:
    """Method × task, a block per sparsity: the dense model first, then falling in the headline."""
    tasks, each = context.data.tasks, context.data.averages.filter(model=model)
    found = {(r["method"], r["sparsity"], r["task"]): r for r in each.iter_rows(named=True)}
    best = _best(each)
    several = each.filter(pl.col("method") != DENSE)["sparsity"].n_unique() > 1
    rows: list[list[TableCell | str] | Group] = []
    for sparsity in each["sparsity"].unique().sort():
        methods = each.filter(sparsity=sparsity)["method"].unique(maintain_order=True).to_list()
        means = {m: (found.get((m, sparsity, tasks[0])) or {}).get("mean") for m in methods}
        if several:
            rows.append(Group("dense model" if methods == [DENSE] else removed(sparsity)))
        for method in sorted(methods, key=lambda m: -(means[m] or 0)):
            here = {task: found.get((method, sparsity, task)) for task in tasks}
            # A cell that no part of a union asks for is not missing.
            cells = [
                _score(row, (method, sparsity, task) in best, tasks, long=True) if row else NONE
                for task, row in here.items()
            ]
            n, expected = next((row["n"], row["n_expected"]) for row in here.values() if row)
            rows.append([method, *cells, of_expected(n, expected)])
    rows += _constants(each, tasks)
    head = ["method", *map(title_of, tasks), "runs"]
    caption = (
        f"{_CAPTION} In brackets the 95 % interval of the mean, where there are two seeds of each "
        "kind."
    )
    return ReportTable(head, rows, caption, context.named(model))


def _by_sparsity(context: Context, model: str) -> ReportTable:
    """Method × sparsity of the headline score."""
    task = context.data.tasks[0]
    each = context.data.averages.filter(model=model, task=task)
    found = {(r["method"], r["sparsity"]): r for r in each.iter_rows(named=True)}
    best = _best(each)
    sparsities = each.filter(pl.col("method") != DENSE)["sparsity"].unique().sort().to_list()
    rows: list[list[TableCell | str]] = []
    for method in each["method"].unique(maintain_order=True):
        at = {s: found.get((method, 0.0 if method == DENSE else s)) for s in sparsities}
        cells = [
            _score(row, (method, s, task) in best, context.data.tasks) if row else NONE
            for s, row in at.items()
        ]
        n, expected = each.filter(method=method).select(pl.sum("n", "n_expected")).row(0)
        rows.append([method, *cells, of_expected(n, expected)])
    rows += _constants(each, [task] * len(sparsities))
    head = ["method", *map(percent, sparsities), "runs"]
    caption = f"Score ({title_of(task)}) over the share of weights removed. {_CAPTION}"
    return ReportTable(head, rows, caption, context.named(model))


def _best(averages: pl.DataFrame) -> set[tuple[str, float, str]]:
    """(method, sparsity, task) with the highest mean among two or more, ties included."""
    present = averages.filter(pl.col("method") != DENSE).drop_nulls("mean")
    group = ["sparsity", "task"]
    top = present.filter(
        (pl.col("mean") == pl.col("mean").max().over(group)) & (pl.len().over(group) > 1)
    )
    return set(top.select("method", "sparsity", "task").iter_rows())


def _constants(averages: pl.DataFrame, tasks: list[str]) -> list[list[TableCell | str]]:
    """Return the row of the best constant answers, a column per task; none where no answer is
    known."""
    known = averages.group_by("task").agg(pl.col("baseline").max()).drop_nulls()
    best: Mapping[str, float] = dict(known.iter_rows())
    if not best:
        return []
    cells = [TableCell(number(best[t]), mark="soft") if t in best else NONE for t in tasks]
    return [[TableCell("best constant answer", mark="soft"), *cells, NONE]]


def _score(row: dict[str, Any], best: bool, tasks: list[str], *, long: bool = False) -> TableCell:
    if row["mean"] is None:
        names = row["missing_tasks"] if row["task"] == AVERAGE else ""
        partly = names and not {*tasks} <= {AVERAGE, *names.split(", ")}
        return TableCell("–", f"missing: {names}" if partly else "missing", "missing")
    reach = interval(row["low"], row["high"])
    warnings = [CONSTANT] if no_better(row) else []
    if row["missing"]:
        warnings.append(f"{row['n']} of {row['n_expected']} runs")
    return TableCell(
        spread(row["mean"], row["std"]),
        (reach if long else "") if reach else ONE_SEED,
        "best" if best else "",
        f"95 % interval {reach}" if reach else "no interval: it takes two seeds of each kind",
        ", ".join(warnings),
    )
