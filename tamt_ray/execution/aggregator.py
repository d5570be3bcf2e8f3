"""The aggregation actor: live tables fed as records land."""

from tamt_ray.analysis.live import LiveTables, Snapshot
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

    def snapshot(self) -> Snapshot:
        """The tables as they stand."""
        return self._tables.snapshot()
