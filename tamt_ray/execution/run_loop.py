"""The loop of a run: it follows the board's events until nothing is left to do."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tamt_ray.execution.activity import LiveStatus, Monitor
from tamt_ray.execution.aggregator import Aggregation
from tamt_ray.execution.interruption import BrokenOffError, Lanes, Signals
from tamt_ray.execution.places import Places
from tamt_ray.execution.proposer import Proposer
from tamt_ray.execution.scheduler.client import BoardClient
from tamt_ray.execution.scheduler.faults import AttemptHistory
from tamt_ray.execution.scheduler.messages import (
    BEAT,
    Diverged,
    Event,
    Extended,
    Failed,
    Known,
    Landed,
    Lost,
    Progressed,
    Rebuilt,
    Resized,
    Started,
    Stopping,
)
from tamt_ray.execution.scheduler.placement import (
    describe,
)
from tamt_ray.execution.worker.attempt import committed
from tamt_ray.execution.worker.output import rescue
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.tuning import DIVERGED, merged
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store, StoreError
from tamt_ray.store.trouble import DamagedError, NotSharedError, UnwritableError
from tamt_ray.tracking.tracker import Tracker

_LOOK = 1.0
"""Seconds between two looks at the nodes, and at the searches that wait for a gang."""
Watch = Callable[[Event | LiveStatus], None]
"""Gets every event, and the state of the run about once a second."""


@dataclass
class Ledger:
    """Records and failures: those of the store and those of this run."""

    records: dict[str, Record]
    failures: dict[str, Failure] = field(default_factory=dict)


@dataclass
class RunLoop:
    """Takes in the board's events; passes records to the aggregator and the tracker."""

    plan: Plan
    store: Store
    ledger: Ledger
    tracker: Tracker
    fail_fast: bool
    watch: Watch
    board: BoardClient
    aggregation: Aggregation
    monitor: Monitor
    places: Places
    proposer: Proposer | None = None
    running: dict[str, Started] = field(default_factory=dict)
    """Keys are ids of units."""
    histories: dict[str, AttemptHistory] = field(default_factory=dict)
    """Histories of units that lost an attempt."""
    over: bool = False
    """True once the proposer has nothing more to propose."""
    stopped: bool = False
    """True once nothing new begins, after a failure."""
    deadline: float | None = None
    """Until when units at work may finish once the run was asked to end."""

    def follow(self, lanes: Lanes, signals: Signals, grace: float) -> None:
        """Follow events until the lanes end and no search waits for a place. Raises
        BrokenOffError."""
        cursor, looked, proposed = 0, 0.0, 0.0
        while True:
            at_work = lanes.running()
            answer = self.board.events(cursor, wait=1.0)
            if answer is None:
                self._reopen()
                cursor = 0
                continue
            cursor, events = answer
            if events:
                # A store that does not answer now is no reason to stop: the lease's own thread
                # looks again, and every write is refused once it is lost.
                with contextlib.suppress(UnwritableError):
                    self.store.ensure_held()
            for event in events:
                self._handle(event)
            activity = self.monitor.snapshot()
            if self.aggregation.exchange(activity):
                self.watch(Rebuilt("aggregator"))
            self.watch(LiveStatus(self.aggregation.tables, activity))
            if signals.caught:
                # The signal that ended the run may have ended Ray's processes too.
                if lanes.failed():
                    raise signals.broken_off()
                self._end(signals, grace)
            lanes.raise_first_error()
            # Nodes are polled, and short units end many times a second.
            if time.monotonic() - looked > _LOOK:
                self._watch_nodes()
                looked = time.monotonic()
            if self.proposer and self._proposing() and (events or looked != proposed):
                self._propose(self.proposer)
                proposed = looked
            if not (at_work or events or self.places.waiting or self._proposing()):
                return

    def _proposing(self) -> bool:
        """Return whether further units may be proposed."""
        return self.proposer is not None and not (self.over or self.stopped)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Landed) and event.record.id in self.ledger.records:
            # Found in the store before a new board reported it.
            return
        match event:
            case Started():
                self.running[event.unit] = event
                self.tracker.began(event.unit)
            case Progressed():
                self.tracker.progressed(event.unit, event.points)
            case Landed(record):
                self.running.pop(record.id, None)
                self.ledger.records[record.id] = record
                self.aggregation.add(record)
                self.tracker.landed(record)
            case Failed(failure, logs):
                self.running.pop(failure.id, None)
                rescue(self.store, logs)
                diverged = self.proposer is not None and failure.error == DIVERGED
                self._set_aside(failure, fatal=not diverged)
                event = Diverged(failure) if diverged else event
            case Lost():
                self.running.pop(event.unit, None)
                self.histories[event.unit] = event.past
                self.tracker.left(event.unit)
                rescue(self.store, event.logs)
            case _:
                pass
        self.monitor.update(event)
        self.watch(event)

    def _set_aside(self, failure: Failure, *, fatal: bool) -> None:
        if failure.error in {UnwritableError.__name__, NotSharedError.__name__}:
            raise BrokenOffError(1, failure.message)
        self.ledger.failures[failure.id] = failure
        # A damaged mask is no failure of the unit that wanted to read it.
        if failure.error != DamagedError.__name__:
            self.store.fail(failure)
        self.tracker.failed(failure)
        if self.fail_fast and fatal:
            self.stopped = True
            self.board.stop(save=False)

    def _propose(self, proposer: Proposer) -> None:
        """Hand the units of further trials to the board, as many as there is room for."""
        if self.deadline is not None:
            return
        records, failures = self.ledger.records, self.ledger.failures
        survey = proposer.propose(records, failures, self.places.room)
        new = [unit for unit in survey.plan.units.values() if unit.id not in self.plan.units]
        if not new and survey.over == self.over:
            return
        self.over, self.plan = survey.over, merged([self.plan, survey.plan])
        self.watch(Extended(self.plan))
        self.tracker.extend(self.plan)
        self.aggregation.extend(self.plan)
        self.monitor.plan = self.plan
        # Another sweep may have computed some of them.
        there = [record for unit in new if (record := committed(self.store, unit))]
        self.board.extend(self.plan, [record.id for record in there], more=not self.over)
        for record in there:
            self._handle(Landed(record))

    def _reopen(self) -> None:
        """Open a board that was restarted empty. Records that it did not report are in the store;
        workers report the units that they began with their next heartbeat."""
        records, failures = self.ledger.records, self.ledger.failures
        missing = {i: u for i, u in self.plan.units.items() if i not in records}
        try:
            landed = self.store.done(missing)
        except (StoreError, OSError):
            # The board answers that it is closed until the store can be read again.
            time.sleep(_LOOK)
            return
        self.board.open(
            self.plan, [*records, *landed], [*failures], 2 * BEAT + 1, self.monitor.prices,
            Known(tuple(self.running.values()), self.histories), more=self._proposing(),
        )  # fmt: skip
        self.board.drain(self.places.nodes.draining)
        if self.deadline is not None or self.stopped:
            self.board.stop(save=self.deadline is not None)
        for record in landed.values():
            self._handle(Landed(record))
        self.watch(Rebuilt("board"))

    def _end(self, signals: Signals, grace: float) -> None:
        """Stop launching; raise once nothing is at work any more or the grace period is over."""
        if self.deadline is None:
            self.board.stop(save=True)
            self.deadline = time.monotonic() + grace
            self.watch(Stopping(len(self.running), grace))
            # Events of units that began a moment ago come first.
            return
        if not self.running or time.monotonic() > self.deadline:
            raise signals.broken_off()

    def _watch_nodes(self) -> None:
        """Tell the board which nodes will go; count and ask for places anew."""
        nodes = self.places.nodes
        before = describe(nodes.resources)
        if nodes.refresh():
            self.board.drain(nodes.draining)
            self.places.slots.resize(nodes.resources)
        if (now := describe(nodes.resources)) != before:
            self.watch(Resized(now))
        if asked := self.places.adjust(self.board.demand()):
            self.watch(asked)
