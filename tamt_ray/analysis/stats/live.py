"""The tables of a sweep as far as its records go."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tamt_ray.analysis.results import Results, collect
from tamt_ray.analysis.stats.answer import Answer, answer
from tamt_ray.analysis.stats.summary import best_columns, summary
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import KINDS
from tamt_ray.store.record import Record


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
    """The tables of these records; those of units of other plans are ignored."""
    results = collect(plan, records)
    total = Counter(unit.kind for unit in plan.units.values())
    done = Counter(unit.kind for unit in plan.units.values() if unit.id in records)
    return Snapshot(
        results=results,
        summary=summary(results),
        best=best_columns(results),
        answer=answer(results),
        done={kind: done[kind] for kind in KINDS},
        total={kind: total[kind] for kind in KINDS},
    )
