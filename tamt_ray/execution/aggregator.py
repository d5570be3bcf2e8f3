"""The aggregation actor: live tables fed as records land."""

from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from tamt_ray.analysis.stats.live import LiveTables, Snapshot
from tamt_ray.execution.actors import on_head
from tamt_ray.plan.expand import Plan
from tamt_ray.store.record import Record


class Aggregator:
    """A cache over the pure functions of `analysis`: killing it loses nothing."""

    def __init__(self, plan: Plan, records: list[Record]) -> None:
        self._tables = LiveTables(plan)
        for record in records:
            self._tables.add(record)

    def add(self, record: Record) -> None:
        """Take a new record into account."""
        self._tables.add(record)

    def extend(self, plan: Plan) -> None:
        """Show `plan`, which has all units known so far, from now on."""
        self._tables.extend(plan)

    def snapshot(self) -> Snapshot:
        """The tables as they stand."""
        return self._tables.snapshot()


class Aggregation:
    """The driver's hold on the aggregation actor, which it starts anew where it is lost."""

    def __init__(self, name: str, plan: Plan, records: Mapping[str, Record]) -> None:
        """`records` grows as the run goes on; it is what a new actor is fed with."""
        self._name = name
        self._started = 0
        self._plan = plan
        self._records = records
        self._last: Any = None
        self._actor = self._start()

    def add(self, record: Record) -> None:
        """Told without waiting."""
        self._last = self._actor.add.remote(record)

    def extend(self, plan: Plan) -> None:
        """Show `plan`, which has all units known so far; does not wait."""
        self._plan = plan
        self._last = self._actor.extend.remote(plan)

    def revived(self) -> bool:
        """Whether the actor was found dead just now, and started anew."""
        if self._last is None:
            return False
        done, _ = ray.wait([self._last], timeout=0)
        if not done:
            return False
        try:
            ray.get(self._last)
        except (RayActorError, OutOfMemoryError):
            self._actor = self._start()
            return True
        finally:
            self._last = None
        return False

    def tables(self) -> Snapshot:
        """The actor's tables, or the same computed here if it was lost."""
        try:
            tables: Any = ray.get(self._actor.snapshot.remote())
            return tables
        except RayError:
            return tables_of(self._plan, self._records.values())

    def _start(self) -> ActorHandle[Aggregator]:
        self._last = None
        # Ray keeps the name of a dead actor for a while.
        self._started += 1
        actor = on_head(Aggregator, f"{self._name}-{self._started}")
        return actor.remote(self._plan, list(self._records.values()))


def tables_of(plan: Plan, records: Iterable[Record]) -> Snapshot:
    """What an aggregator fed with these records shows."""
    tables = LiveTables(plan)
    for record in records:
        tables.add(record)
    return tables.snapshot()
