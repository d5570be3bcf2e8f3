"""Downstream score against what the search took (Fig. 6, 7, 14–16)."""

from collections.abc import Iterator

import polars as pl

from tamt_ray.analysis.figures.marks import line_panel
from tamt_ray.analysis.figures.scores import BANDS
from tamt_ray.analysis.figures.vega import Figure, Spec, distinct, grid, looks_of
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.results import by_cell
from tamt_ray.analysis.roles import random_starts, roles
from tamt_ray.analysis.stats.averages import leading_task, title_of
from tamt_ray.analysis.stats.trajectories import searched_lengths, trajectories
from tamt_ray.analysis.words import percent

_CAPTION = (
    "A point per search length, its cost the mean over masks: optimiser steps of all levels "
    "together, and seconds of training on the device named. Dashed: one-shot magnitude pruning, "
    f"which is not searched. {BANDS}"
)


def search_cost(data: ReportData) -> Iterator[Figure]:
    """Yield the headline score over iterations and over seconds."""
    rows, task = _headline(data, pl.lit(True))
    if rows.height:
        yield Figure(
            "search_cost", "Fig. 6", "Score against what the search took", _CAPTION,
            _over_cost(data, rows, "sparsity", f"{task} (%)"),
        )  # fmt: skip


def search_cost_by_task(data: ReportData) -> Iterator[Figure]:
    """Yield the same for each task, a figure per sparsity."""
    if len(data.sweep.tasks) < 2:
        return
    own = pl.col("task").is_in([*data.sweep.tasks])
    rows = trajectories(data.results).filter(pl.col("n") > 0, own)
    for sparsity in searched_lengths(rows)["sparsity"].unique().sort():
        yield Figure(
            f"search_cost_by_task_{sparsity * 100:g}", "Fig. 14–16",
            f"Score of each task against what the search took, {percent(sparsity)}", _CAPTION,
            _over_cost(data, rows.filter(sparsity=sparsity), "task", "score (%)"),
        )  # fmt: skip


def initialisation(data: ReportData) -> Iterator[Figure]:
    """Yield scores over iterations from OMP's mask and from a random one."""
    starts = random_starts(data.sweep.methods)
    words = dict.fromkeys(starts, "from OMP") | dict.fromkeys(starts.values(), "from a random mask")
    leaders = {name: name for name in starts} | {other: name for name, other in starts.items()}
    rows, task = _headline(data, pl.col("method").is_in([*leaders]))
    if rows.is_empty():
        return
    rows = rows.with_columns(
        start=pl.col("method").replace_strict(words), method=pl.col("method").replace(leaders)
    )
    yield Figure(
        "initialisation", "Fig. 7", "Where the scores start",
        "Mask training from scores of one-shot magnitude pruning (solid) and of a random mask "
        f"(dashed) over its steps. {BANDS}",
        grid(
            (cell.model,
             line_panel(percent(cell.sparsity), part, "iterations", looks_of(data, rows),
                        x_title="search iterations", y_title=f"{task} (%)", form="~s",
                        levels=(), dash="start", dashes=("from OMP", "from a random mask")))
            for cell, part in by_cell(rows, "model", "sparsity")
        ),
    )  # fmt: skip


def _headline(data: ReportData, condition: pl.Expr) -> tuple[pl.DataFrame, str]:
    """Return the headline scores of every search length where there are several, and their name."""
    task = leading_task(data.sweep.tasks) or ""
    rows = trajectories(data.results).filter(pl.col("n") > 0, pl.col("task") == task, condition)
    keys = ["model", "sparsity"]
    return rows.join(searched_lengths(rows), on=keys, how="semi", maintain_order="left"), title_of(
        task
    )


def _over_cost(data: ReportData, rows: pl.DataFrame, by: str, y_title: str) -> Spec:
    """Return for each model and value of `by` the score over both costs, one below the other."""
    omp = roles(data.sweep).get("omp", "")
    rows = rows.filter((pl.col("iterations") > 0) | (pl.col("method") == omp))
    looks = looks_of(data, rows)
    named = {name for text in rows["devices"].drop_nulls() for name in text.split("; ") if name}
    seconds = "search time (s)" + (f" on {'; '.join(sorted(named))}" if named else "")
    panels: list[tuple[str, Spec]] = []
    columns = 1
    for model in distinct(rows, "model"):
        parts = rows.filter(model=model).partition_by(by, maintain_order=True)
        parts.sort(key=lambda part: part["sparsity"][0])
        columns = max(columns, len(parts))
        for cost, words in (("iterations", "search iterations"), ("seconds", seconds)):
            for part in parts:
                title = part["task"][0] if by == "task" else percent(part["sparsity"][0])
                panel = line_panel(title, part, cost, looks, x_title=words, y_title=y_title,
                                   form="~s", levels=(omp,))  # fmt: skip
                panels.append((model, panel))
    return grid(panels, columns)
