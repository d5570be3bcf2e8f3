"""Units at work with their steps and rates, counts, and the time left: what only a driver knows."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from tamt_ray.analysis.stats.summary import Snapshot
from tamt_ray.execution.scheduler.messages import Event, Failed, Landed, Lost, Progressed, Started
from tamt_ray.plan.cost import Prices, device_seconds, prices
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.status import unit_path
from tamt_ray.plan.unit import Kind
from tamt_ray.store.record import Record

_STARTING = 20.0
"""Seconds until the first worker begins; the expected speed counts like as many of experience."""
_REMEMBERED = 600.0
"""Seconds of experience that say how fast this run is: other work comes and goes."""


@dataclass(frozen=True)
class UnitAtWork:
    """One unit that a worker is doing."""

    path: str
    place: str
    seconds: float
    """Since it began."""
    step: int = 0
    steps: int = 0
    """0 until the worker says how many there are."""
    rate: float | None = None
    """Steps per second."""


@dataclass(frozen=True)
class Activity:
    """A moment of a running sweep; counts are by kind, of the units that this run is about."""

    at_work: tuple[UnitAtWork, ...]
    running: Mapping[Kind, int]
    done: Mapping[Kind, int]
    failed: Mapping[Kind, int]
    total: Mapping[Kind, int]
    elapsed: float
    """Seconds since the run began."""
    left: float | None
    """Estimated seconds to the end; None once nothing can run."""


@dataclass(frozen=True)
class LiveStatus:
    """A running sweep as its aggregator shows it."""

    tables: Snapshot | None
    """None until the aggregator has sent some."""
    activity: Activity
    """Activity of the run, which may cover only a part of the sweep."""


@dataclass
class _Work:
    place: str
    begun: float
    first: tuple[float, int] | None = None
    last: tuple[float, int] | None = None
    steps: int = 0

    @property
    def rate(self) -> float | None:
        """Steps per second between the first and the last sign of life, or since the beginning."""
        if not self.last:
            return None
        seconds = self.last[0] - self._since[0]
        return self.taken / seconds if seconds > 0 else None

    @property
    def taken(self) -> int:
        """Steps that this worker took, as far as known; a search may go on from a state."""
        return self.last[1] - self._since[1] if self.last else 0

    @property
    def _since(self) -> tuple[float, int]:
        return (
            self.first if self.first and self.last and self.last > self.first else (self.begun, 0)
        )

    def seconds_left(self, now: float) -> float:
        """Seconds to its end at its own rate; 0 if that is not known."""
        if not self.rate or not self.last:
            return 0.0
        return max(0.0, (self.steps - self.last[1]) / self.rate - (now - self.last[0]))


@dataclass
class Monitor:
    """Follows the events of a run. Prices follow the records of the run itself."""

    plan: Plan
    records: Mapping[str, Record]
    failed: Collection[str]
    usual: Prices
    places: Callable[[], int]
    """Number of units that may be at work at once."""
    clock: Callable[[], float] = time.monotonic
    _work: dict[str, _Work] = field(default_factory=dict)
    _landed: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Begin, end and seconds of one device of each unit that this run finished."""
    _costs: dict[str, float] = field(default_factory=dict)
    """Prices of units, as computed last."""

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._first: float | None = None
        self._priced: int | None = None

    @property
    def prices(self) -> Prices:
        """Prices as measured so far; computed anew for every twentieth more records."""
        if self._priced is None or len(self.records) > 1.05 * self._priced:
            self._prices = prices(self.plan.units, self.records, self.usual)
            self._priced = len(self.records)
            self._costs.clear()
        return self._prices

    def update(self, event: Event) -> None:
        """Take an event into account."""
        now = self.clock()
        match event:
            case Started(unit_id, place=place):
                self._first = self._first or now
                self._work[unit_id] = _Work(place, now)
            case Progressed(unit_id, step, steps) if work := self._work.get(unit_id):
                if not work.first or (work.last and step < work.last[1]):
                    work.first = now, step
                work.last, work.steps = (now, step), steps
            case Landed(record):
                if work := self._work.pop(record.id, None):
                    self._landed[record.id] = work.begun, now, device_seconds(record)
            case Failed(failure):
                self._work.pop(failure.id, None)
            case Lost(unit_id):
                self._work.pop(unit_id, None)
            case _:
                pass

    def snapshot(self) -> Activity:
        """Return the activity now."""
        now = self.clock()
        units = self.plan.units
        at_work = tuple(
            UnitAtWork(
                unit_path(units[unit_id]), work.place, now - work.begun,
                work.last[1] if work.last else 0, work.steps, work.rate,
            )
            for unit_id, work in self._work.items()
        )  # fmt: skip
        total, done = Counter[Kind](), Counter[Kind]()
        for unit in units.values():
            total[unit.kind] += 1
            done[unit.kind] += unit.id in self.records
        return Activity(
            at_work,
            Counter(units[unit_id].kind for unit_id in self._work),
            done,
            Counter(units[i].kind for i in self.failed if i in units and i not in self.records),
            total,
            now - self._began,
            self._left(now),
        )

    def _left(self, now: float) -> float | None:
        """Return the price of what is left over the price of what was done per second lately, but
        at least the time to the end of each unit at work.

        On a busy machine a second does less work than a second of the prices.
        """
        blocked = set(self.failed)
        left = 0.0
        for unit in self.plan.units.values():
            if unit.id in self.records or unit.id in blocked or blocked & set(unit.needs):
                blocked |= {unit.id} - self.records.keys()
                continue
            left += self._rest_of(unit.id, now)
        if not left:
            return None
        if self._first is None:
            return left / self.places() + max(0.0, _STARTING - (now - self._began))
        since = max(self._first, now - _REMEMBERED)
        speed = (self._done(since, now) + _STARTING * self.places()) / (now - since + _STARTING)
        return max(left / speed, *(work.seconds_left(now) for work in self._work.values()), 0.0)

    def _done(self, since: float, now: float) -> float:
        """Return the price of what this run did in a time. A unit that went on from a state did no
        more than it took time for."""
        done = 0.0
        for unit_id, (begun, ended, seconds) in self._landed.items():
            if ended > since:
                done += min(self._price(unit_id), seconds) * _share(begun, ended, since)
        for unit_id, work in self._work.items():
            price = self._price(unit_id)
            mine = min(0.9 * price, now - work.begun)
            if work.steps:
                mine = price * work.taken / work.steps
            done += mine * _share(work.begun, now, since)
        return done

    def _rest_of(self, unit_id: str, now: float) -> float:
        price, work = self._price(unit_id), self._work.get(unit_id)
        if work is None:
            return price
        if work.steps and work.last:
            return price * (1 - work.last[1] / work.steps)
        return max(0.1 * price, price - (now - work.begun))

    def _price(self, unit_id: str) -> float:
        known = self.prices
        if unit_id not in self._costs:
            self._costs[unit_id] = known.seconds(self.plan.units[unit_id])
        return self._costs[unit_id]


def _share(begun: float, ended: float, since: float) -> float:
    """Return the share of a span of time that lies after the moment `since`."""
    return min(1.0, max(0.0, ended - since) / max(ended - begun, 1e-9))
