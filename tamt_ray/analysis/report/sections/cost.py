"""Section: cost of the searches."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from tamt_ray.analysis.claims.verdict import times
from tamt_ray.analysis.report.blocks import NONE, Block, Group, ReportTable, TableCell, TableRow
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.results import by_cell, main_rows
from tamt_ray.analysis.stats.trajectories import MIN_TRAVEL, travels
from tamt_ray.analysis.words import duration, interval, percent, removed


def section(context: Context) -> Iterator[Block]:
    """Yield cost against score, and steps, time and score travel of every search."""
    yield from context.charts("search_cost", "initialisation")
    yield from context.charts("search_cost_by_task_", folded=True)
    yield from _savings(context)
    for table in searches(context):
        yield table.shortened("Steps and time of each search")


def searches(context: Context) -> Iterator[ReportTable]:
    """Yield optimiser steps, training time and score travel of the main results' masks (Tab. 2,
    3), a block per sparsity, where something is trained."""
    trained = main_rows(context.data.searches).filter(pl.col("iterations") > 0)
    if trained.is_empty():
        return
    far = travels(context.data.plan)
    devices = ", ".join(trained["device"].drop_nulls().unique().sort())
    several = trained.select("model", "sparsity").n_unique() > 1
    rows: list[TableRow] = []
    trained = trained.sort("sparsity", maintain_order=True)
    for place, group in by_cell(trained, "model", "sparsity"):
        if several:
            rows.append(Group(context.named(place.model, removed(place.sparsity))))
        for cell, part in by_cell(group, "method"):
            mean, std = part["search_seconds"].mean(), part["search_seconds"].std()
            travel = far.get((place.model, cell.method, place.sparsity))
            short = travel is not None and travel < MIN_TRAVEL
            mark = "warn" if short else ""
            rows.append(
                [
                    cell.method,
                    f"{part['iterations'][0]:,}",
                    _time(mean, std) if isinstance(mean, float) else NONE,
                    NONE if travel is None else TableCell(f"{travel:.3g} φ", mark=mark),
                ]
            )
    caption = (
        "Steps and time, of IMP those of all its levels, whose first is OMP and trains nothing; "
        f"mean ± standard deviation over masks, on {devices or 'no device yet'} (paper: Tab. 2, "
        "3). Score travel: the sum of the learning rates over the steps, in thresholds φ (paper: "
        f"59 φ for MLM at 70 %); below {MIN_TRAVEL:g} φ, which is marked, a mask can hardly leave "
        "its start."
    )
    yield ReportTable(["method", "steps", "training time", "score travel"], rows, caption)


def _time(mean: float, std: object) -> str:
    return f"{duration(mean)} ± {duration(std)}" if isinstance(std, float) else duration(mean)


def _savings(context: Context) -> Iterator[Block]:
    """Yield what each TAMT method needs for IMP's best score: iterations, time, and the ratios."""
    costs = context.data.costs
    if costs.is_empty():
        return
    rows: list[TableRow] = []
    for cell, part in by_cell(costs, "model", "sparsity"):
        found = part.to_dicts()
        best, seconds = found[0], found[0]["imp_seconds"]
        time = "time unknown" if seconds is None else duration(seconds)
        words = (
            f"{context.named(cell.model, percent(cell.sparsity))}: {best['imp']} is best at "
            f"{best['target']:.1f} after {best['imp_iterations']:,.0f} iterations, {time}"
        )
        rows += [Group(words), *map(_saving, found)]
    devices = "; ".join(costs["device"].unique().sort())
    caption = (
        f"Score: mean over {costs['tasks'][0]}, percent. IMP is best at the largest mean of its "
        "prune intervals; TAMT gets there where its mean curve first meets that score, between "
        "checkpoints by a straight line. “≤”: its first checkpoint is there already. Training "
        f"time only, on {devices or 'no device yet'}; two devices joined by a stroke do not "
        "compare. In brackets the 95 % interval of the ratio: mask and fine-tuning seeds resampled "
        "for both at once, widened for their small number by Student's t; none where more than "
        "2.5 % of the resamples do not get there. (paper: 8.4 times fewer, 8.7 times less)"
    )
    head = ["method", "iterations to IMP's best", "times fewer", "time to IMP's best", "times less"]
    yield ReportTable(head, rows, caption).shortened("Cost of IMP's best score")


def _saving(row: dict[str, Any]) -> TableRow:
    if row["iterations"] is None:
        gone = TableCell("not reached", mark="missing")
        return [row["method"], gone, NONE, gone, NONE]
    most = "≤ " if row["at_first"] else ""
    return [
        row["method"],
        f"{most}{row['iterations']:,.0f}",
        _ratio(row, "iterations"),
        NONE if row["seconds"] is None else f"{most}{duration(row['seconds'])}",
        _ratio(row, "seconds"),
    ]


def _ratio(row: dict[str, Any], of: str) -> TableCell:
    ratio, low, high = (row[f"{of}_{name}"] for name in ("ratio", "low", "high"))
    if ratio is None:
        return NONE
    return TableCell(f"{'≥ ' if row['at_first'] else ''}{times(ratio)}×", interval(low, high))
