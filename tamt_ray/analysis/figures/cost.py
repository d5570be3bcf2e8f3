"""Downstream score against what the search took (Fig. 6, 7, 14–16)."""

from collections.abc import Iterator, Sequence

import polars as pl

from tamt_ray.analysis.figures.marks import line_panel
from tamt_ray.analysis.figures.scores import BANDS
from tamt_ray.analysis.figures.vega import (
    Figure,
    Spec,
    distinct,
    grid,
    looks_of,
    percent,
    title_of,
)
from tamt_ray.analysis.report_data import ReportData
from tamt_ray.analysis.roles import random_starts, roles
from tamt_ray.analysis.stats.averages import leading_task
from tamt_ray.analysis.stats.trajectories import searched_lengths, trajectories

_CAPTION = (
    "A point per search length, its cost the mean over masks: optimiser steps of all levels "
    "together, and seconds of training on the device named. Dashed: one-shot magnitude pruning, "
    f"which is not searched. {BANDS}"
)


def search_cost(data: ReportData) -> Iterator[Figure]:
    """Yield the headline score over iterations and over seconds."""
    task = leading_task(data.sweep.tasks)
    rows = trajectories(data.results).filter(pl.col("n") > 0, pl.col("task") == (task or ""))
    lengths = searched_lengths(rows)
    if task is None or lengths.is_empty():
        return
    chosen = rows.join(lengths, on=["model", "sparsity"], how="semi", maintain_order="left")
    yield Figure(
        "search_cost", "Fig. 6", "Score against what the search took", _CAPTION,
        _over_cost(data, chosen, ("sparsity",), f"{title_of(task)} (%)"),
    )  # fmt: skip


def search_cost_by_task(data: ReportData) -> Iterator[Figure]:
    """Yield the same for each task, a figure per sparsity."""
    if len(data.sweep.tasks) < 2:
        return
    rows = trajectories(data.results).filter(
        pl.col("n") > 0, pl.col("task").is_in([*data.sweep.tasks])
    )
    for sparsity in searched_lengths(rows)["sparsity"].unique().sort():
        yield Figure(
            f"search_cost_by_task_{sparsity * 100:g}", "Fig. 14–16",
            f"Score of each task against what the search took, {percent(sparsity)}", _CAPTION,
            _over_cost(data, rows.filter(sparsity=sparsity), ("task",), "score (%)"),
        )  # fmt: skip


def initialisation(data: ReportData) -> Iterator[Figure]:
    """Yield scores over iterations from OMP's mask and from a random one."""
    task = leading_task(data.sweep.tasks)
    starts = random_starts(data.sweep.methods)
    words = dict.fromkeys(starts, "from OMP") | dict.fromkeys(starts.values(), "from a random mask")
    leaders = {name: name for name in starts} | {other: name for name, other in starts.items()}
    rows = trajectories(data.results).filter(
        pl.col("n") > 0, pl.col("task") == (task or ""), pl.col("method").is_in([*leaders])
    )
    lengths = searched_lengths(rows)
    if task is None or lengths.is_empty():
        return
    chosen = rows.join(lengths, on=["model", "sparsity"], how="semi", maintain_order="left")
    chosen = chosen.with_columns(
        start=pl.col("method").replace_strict(words), method=pl.col("method").replace(leaders)
    )
    blocks: dict[str, list[Spec]] = {}
    for (model, sparsity), part in chosen.group_by("model", "sparsity", maintain_order=True):
        blocks.setdefault(str(model), []).append(
            line_panel(percent(float(str(sparsity))), part, "iterations", looks_of(data, chosen),
                   x_title="search iterations", y_title=f"{title_of(task)} (%)", form="~s",
                   levels=(), dash="start", dashes=("from OMP", "from a random mask"))
        )  # fmt: skip
    yield Figure(
        "initialisation", "Fig. 7", "Where the scores start",
        "Mask training from scores of one-shot magnitude pruning (solid) and of a random mask "
        f"(dashed) over its steps. {BANDS}",
        grid(blocks),
    )  # fmt: skip


def _over_cost(data: ReportData, rows: pl.DataFrame, by: Sequence[str], y_title: str) -> Spec:
    """Return for each model and value of `by` the score over both costs, one below the other."""
    omp = roles(data.sweep).get("omp", "")
    rows = rows.filter((pl.col("iterations") > 0) | (pl.col("method") == omp))
    looks = looks_of(data, rows)
    named = {name for text in rows["devices"].drop_nulls() for name in text.split("; ") if name}
    seconds = "search time (s)" + (f" on {'; '.join(sorted(named))}" if named else "")
    blocks: dict[str, list[Spec]] = {}
    columns = 1
    for model in distinct(rows, "model"):
        parts = rows.filter(model=model).partition_by(*by, maintain_order=True)
        parts.sort(key=lambda part: part["sparsity"][0])
        columns = max(columns, len(parts))
        blocks[model] = [
            line_panel(title, part, cost, looks, x_title=words, y_title=y_title, form="~s",
                   levels=(omp,))
            for cost, words in (("iterations", "search iterations"), ("seconds", seconds))
            for part in parts
            for value in [part[by[0]][0]]
            for title in [value if isinstance(value, str) else percent(value)]
        ]  # fmt: skip
    return grid(blocks, columns)
