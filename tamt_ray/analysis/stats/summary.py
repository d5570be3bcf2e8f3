"""The compact table that the command line and the tracker show."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamt_ray.analysis.results import Results, collect
from tamt_ray.analysis.stats.answer import Answer, answer
from tamt_ray.analysis.stats.averages import AVERAGE, GROUP, losses, means, no_better, runs
from tamt_ray.analysis.words import MISSING, counted, spread
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import KINDS
from tamt_ray.store.record import Record

_ANSWER = "constant"
"""Stands for a method in the row of the best constant answers."""
CONSTANT = "≤ constant"
"""Beside a score: no better than the best constant answer."""


def best_columns(results: Results) -> tuple[frozenset[str], ...]:
    """Return, by row of `summary`, the columns in which no other method of the same model and
    sparsity is better; none where there is no other."""
    keys = ["model", "method", "sparsity"]
    scores = means(runs(results.downstream))
    values = losses(results.pretrain).select(
        *keys, *(-pl.col(f"{name}_loss").alias(f"{name}_loss") for name in ("mlm", "kd"))
    )
    for task in scores["task"].unique(maintain_order=True):
        column = scores.filter(pl.col("task") == task).select(
            *keys, pl.col("mean").alias("average %" if task == AVERAGE else f"{task} %")
        )
        values = values.join(column, on=keys, how="left", maintain_order="left")
    group = ["model", "sparsity"]
    best = values.select(
        (pl.col(name) == pl.col(name).max().over(group)) & (pl.col(name).count().over(group) > 1)
        for name in values.columns[3:]
    )
    return tuple(frozenset(name for name, leads in row.items() if leads) for row in best.to_dicts())


def summary(results: Results) -> pl.DataFrame:
    """Return a row for each (model, method, sparsity), in plan order, every other column ready to
    print.

    `average %` over tasks and `<task> %`: mean ± standard deviation over runs, "(n/expected)"
    where some are missing, "≤ constant" where a constant answer is as good; `mlm_loss` (nats),
    `kd_loss` (cosine distance): mean ± standard deviation over masks; `runs`: complete ones, of how
    many. The last row of each model that has scores is the best constant answer, without sparsity.
    """
    keys = GROUP[:3]
    scores = {
        (model, method, sparsity, task): row
        for row in means(runs(results.downstream)).iter_rows(named=True)
        for model, method, sparsity, task in [[row[name] for name in GROUP]]
    }
    tasks = results.downstream["task"].unique(maintain_order=True).to_list()
    shown = {AVERAGE: "average %"} if len(tasks) > 1 else {}
    shown |= {task: f"{task} %" for task in tasks}
    rows: list[dict[str, object]] = []
    for loss in losses(results.pretrain).iter_rows(named=True):
        key = tuple(loss[name] for name in keys)
        row: dict[str, object] = dict(zip(keys, key, strict=True))
        for task, title in shown.items():
            # A union of sweeps may leave a task out of some of its parts.
            found = scores.get((*key, task))
            row[title] = MISSING
            if found:
                text = spread(found["mean"], found["std"])
                row[title] = counted(text, found["n"], found["n_expected"])
                if no_better(found):
                    row[title] = f"{row[title]} {CONSTANT}"
        for name in ("mlm", "kd"):
            text = spread(loss[f"{name}_loss"], loss[f"{name}_std"], 3)
            row[f"{name}_loss"] = counted(text, loss["n"], loss["n_expected"])
        if tasks:
            whole = scores.get((*key, AVERAGE), {"n": 0, "n_expected": 0})
            row["runs"] = f"{whole['n']}/{whole['n_expected']}"
        rows.append(row)
    rows += _constant_rows(scores, shown)
    texts = [*shown.values(), "mlm_loss", "kd_loss", *(["runs"] if tasks else [])]
    schema = {name: results.pretrain.schema[name] for name in keys}
    return pl.DataFrame(rows, schema={**schema, **dict.fromkeys(texts, pl.String)})


def _constant_rows(
    scores: Mapping[tuple[str, ...], Mapping[str, Any]], shown: Mapping[str, str]
) -> list[dict[str, object]]:
    """Return a row for each model with scores whose best constant answers are known."""
    rows: list[dict[str, object]] = []
    for model in dict.fromkeys(key[0] for key in scores):
        own = [row for key, row in scores.items() if key[0] == model]
        known = {
            shown[row["task"]]: f"{row['baseline']:.1f}"
            for row in own
            if row["baseline"] is not None and row["task"] in shown
        }
        if known and any(row["n"] for row in own):
            row = dict.fromkeys([*shown.values(), "mlm_loss", "kd_loss", "runs"], MISSING)
            rows.append({**row, **known, "model": model, "method": _ANSWER})
    return rows


@dataclass(frozen=True)
class Snapshot:
    """The tables as of now; `done` and `total` count units by kind."""

    results: Results
    summary: pl.DataFrame
    best: tuple[frozenset[str], ...]
    """Columns in which a row of the summary is the best, by row."""
    answer: Answer
    done: Mapping[str, int]
    total: Mapping[str, int]


def snapshot(plan: Plan, records: Mapping[str, Record]) -> Snapshot:
    """Return the tables of these records; those of units of other plans are ignored."""
    results = collect(plan, records)
    table, best = summary(results), best_columns(results)
    total = Counter(unit.kind for unit in plan.units.values())
    done = Counter(unit.kind for unit in plan.units.values() if unit.id in records)
    return Snapshot(
        results=results,
        summary=table,
        best=best + (frozenset(),) * (table.height - len(best)),
        answer=answer(results),
        done={kind: done[kind] for kind in KINDS},
        total={kind: total[kind] for kind in KINDS},
    )


def printed_rows(table: pl.DataFrame) -> list[list[str]]:
    """Return the names of the columns, and the rows as text."""
    return [table.columns, *([printed(value) for value in row] for row in table.rows())]


def printed(value: object) -> str:
    """Return a cell of a table that is ready to print."""
    if value is None:
        return MISSING
    return f"{value:g}" if isinstance(value, float) else str(value)


def markdown(table: pl.DataFrame) -> str:
    """Return the table in Markdown, numbers to the right."""
    head, *rows = printed_rows(table)
    rule = ["---" if name in {"model", "method"} else "---:" for name in head]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, rule, *rows])
