"""The aggregation actor: tables, counts and units at work of a running sweep, for all who ask."""

import time
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError

from tamt_ray.analysis.stats.summary import Snapshot, snapshot
from tamt_ray.execution.activity import Activity, LiveStatus
from tamt_ray.execution.actors import on_head
from tamt_ray.plan.expand import Plan
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store

_REST = 10.0
"""Pause after new tables, in times of what they took."""


class Aggregator:
    """A cache over the pure functions of `analysis`; killing it loses nothing.

    Ray starts it anew, and then it reads the store again as soon as the driver opens it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plan: Plan | None = None
        self._records: dict[str, Record] = {}
        self._tables: Snapshot | None = None
        self._stale = True
        self._rest_until = 0.0
        """No tables for the driver before: they must not take all of a CPU of a large sweep."""
        self._activity: Activity | None = None

    def open(self, plan: Plan) -> None:
        """Show `plan` from now on; new units are looked up in the store."""
        known = self._plan.units if self._plan else {}
        new = {unit_id: unit for unit_id, unit in plan.units.items() if unit_id not in known}
        self._records |= self._store.done(new)
        self._plan, self._stale = plan, True

    def update(self, records: list[Record], activity: Activity) -> tuple[bool, Snapshot | None]:
        """Take in what landed and what goes on. Return whether this actor is open, and the tables
        where they have changed."""
        self._activity = activity
        if self._plan is None:
            return False, None
        if records:
            self._records |= {record.id: record for record in records}
            self._stale = True
        begin = time.monotonic()
        if not self._stale or begin < self._rest_until:
            return True, None
        tables, now = self._current(self._plan), time.monotonic()
        self._rest_until = now + _REST * (now - begin)
        return True, tables

    def status(self) -> LiveStatus | None:
        """Return all that is known; None until the driver has opened it."""
        if self._plan is None or self._activity is None:
            return None
        return LiveStatus(self._current(self._plan), self._activity)

    def _current(self, plan: Plan) -> Snapshot:
        if self._tables is None or self._stale:
            self._tables, self._stale = snapshot(plan, self._records), False
        return self._tables


@dataclass
class Aggregation:
    """The driver's side of the aggregation actor. No method waits for it."""

    name: str
    store: Store
    plan: Plan
    tables: Snapshot | None = None
    """The last ones it sent."""
    _new: list[Record] = field(default_factory=list)
    _call: ObjectRef[tuple[bool, Snapshot | None]] | None = None

    def __post_init__(self) -> None:
        self._actor: ActorHandle[Aggregator] = on_head(
            Aggregator, self.name, restarts=True
        ).remote(self.store)  # fmt: skip
        self._opened = self._answered = False

    def add(self, record: Record) -> None:
        """Take a record that landed."""
        self._new.append(record)

    def extend(self, plan: Plan) -> None:
        """Show `plan`, which has all units known so far."""
        self.plan, self._opened = plan, False

    def exchange(self, activity: Activity) -> bool:
        """Send what is new and take the last answer, if it is there. Returns whether the actor was
        lost and stands again."""
        if self._call is not None:
            done, _ = ray.wait([self._call], timeout=0)
            if not done:
                return False
            call, self._call = self._call, None
            try:
                answer: Any = ray.get(call)
                is_open, tables = answer
            except RayError:
                # Ray is starting it anew, or will; the next call asks again.
                is_open, tables = False, None
            self.tables = tables or self.tables
            lost, self._answered = self._answered and not is_open, is_open
            self._opened &= is_open
            if lost:
                return True
        if not self._opened:
            # It finds in the store what landed so far.
            self._actor.open.remote(self.plan)
            self._opened = True
        new, self._new = self._new, []
        self._call = self._actor.update.remote(new, activity)
        return False
