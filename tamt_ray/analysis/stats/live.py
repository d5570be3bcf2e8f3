"""Tables that keep up with a running sweep."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tamt_ray.analysis.results import Results, collect
from tamt_ray.analysis.stats.summary import summary
from tamt_ray.plan.config import KINDS
from tamt_ray.plan.expand import Plan
from tamt_ray.store.record import Record


@dataclass(frozen=True)
class Snapshot:
    """The tables as of now; `done` and `total` count units by kind."""

    results: Results
    summary: pl.DataFrame
    done: Mapping[str, int]
    total: Mapping[str, int]


class LiveTables:
    """A cache over the pure functions of this room: losing it loses nothing."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._records: dict[str, Record] = {}
        self._snapshot: Snapshot | None = None

    def extend(self, plan: Plan) -> None:
        """Show `plan`, which has all units known so far, from now on."""
        self._plan, self._snapshot = plan, None

    def add(self, record: Record) -> None:
        """Remember a record; the same one twice is the same as once.

        Raises ValueError for a unit of another plan.
        """
        if record.id not in self._plan.units:
            raise ValueError(f"{record.kind} {record.id} is not a unit of this plan")
        self._records[record.id] = record
        self._snapshot = None

    def snapshot(self) -> Snapshot:
        """The tables over all records so far, computed anew only after an `add`."""
        if self._snapshot is None:
            results = collect(self._plan, self._records)
            total = Counter(unit.kind for unit in self._plan.units.values())
            done = Counter(record.kind for record in self._records.values())
            self._snapshot = Snapshot(
                results=results,
                summary=summary(results),
                done={kind: done[kind] for kind in KINDS},
                total={kind: total[kind] for kind in KINDS},
            )
        return self._snapshot
