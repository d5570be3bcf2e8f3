"""One sweep from the first missing unit to the last."""

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from tamt_ray.analysis.live import LiveTables, Snapshot
from tamt_ray.execution.aggregator import Aggregator
from tamt_ray.execution.board_actor import BoardActor, BoardClient, Event, Failed, Landed
from tamt_ray.execution.broken import BrokenOffError
from tamt_ray.execution.cluster import connected
from tamt_ray.execution.fleet import run_fleet
from tamt_ray.execution.gang import run_gang
from tamt_ray.execution.placement import fleet_slots, gang_size, slots_of_gang
from tamt_ray.execution.share import measured_share
from tamt_ray.execution.signals import Signals, caught_signals
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.status import Decision, decide
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store
from tamt_ray.tracking.tracker import Tracker

Watch = Callable[[Event | None], None]
"""Told every event, and None about once a second."""


@dataclass
class Ledger:
    """What the store held and what this run added."""

    records: dict[str, Record]
    failures: dict[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """What the user asked for beside the sweep itself."""

    address: str | None = None
    fail_fast: bool = False


def run(
    sweep: Sweep,
    plan: Plan,
    store: Store,
    ledger: Ledger,
    tracker: Tracker,
    call: Call,
    watch: Watch,
) -> Snapshot:
    """Run what is missing; `ledger` grows as records land. Returns the final tables.

    Raises ClusterError, InfeasibleError or BrokenOffError.
    """
    decisions = decide(plan, ledger.records, ledger.failures)
    open_units = [plan.units[i] for i, d in decisions.items() if d in {Decision.RUN, Decision.WAIT}]
    with connected(call.address) as nodes:
        name = f"tamt-{uuid.uuid4().hex[:12]}"
        size = gang_size(sweep.execution, nodes)
        slots = fleet_slots(sweep.execution, nodes, measured_share(sweep, nodes))
        board = BoardClient(
            _on_head(BoardActor, f"{name}-board").remote(
                plan, list(ledger.records), list(ledger.failures), sweep.execution.retries
            )
        )
        aggregator = _on_head(Aggregator, f"{name}-aggregator").remote(
            plan, list(ledger.records.values())
        )
        lanes = _Lanes()
        searches = sum(unit.trains_in_gang for unit in open_units)
        for number in range(min(searches, sweep.execution.search.gangs)):
            gang = f"{name}-gang-{number}"
            slots.promise(gang, slots_of_gang(size, slots))
            lanes.start(
                lambda gang=gang: run_gang(
                    gang, f"{name}-board", store.uri, size, sweep.execution.retries
                ),
                lambda gang=gang: slots.give_back(gang),
            )
        if len(open_units) > searches:
            lanes.start(lambda: run_fleet(f"{name}-board", store.uri, slots))
        with caught_signals() as signals:
            _follow(board, aggregator, lanes, signals, store, ledger, tracker, call, watch)
        return _final_tables(aggregator, plan, ledger.records)


def _follow(
    board: BoardClient,
    aggregator: ActorHandle[Aggregator],
    lanes: "_Lanes",
    signals: Signals,
    store: Store,
    ledger: Ledger,
    tracker: Tracker,
    call: Call,
    watch: Watch,
) -> None:
    """Hear events until the lanes end; records go to the aggregator and the tracker."""
    cursor = 0
    while True:
        running = lanes.running()
        cursor, events = board.events(cursor, wait=1.0)
        for event in events:
            if isinstance(event, Landed):
                ledger.records[event.record.id] = event.record
                aggregator.add.remote(event.record)
                tracker.landed(event.record)
            elif isinstance(event, Failed):
                ledger.failures[event.failure.id] = event.failure
                store.fail(event.failure)
                tracker.failed(event.failure)
                if call.fail_fast:
                    board.stop()
            watch(event)
        watch(None)
        lanes.raise_first_error()
        signals.raise_if_caught()
        if not running and not events:
            return


class _Lanes:
    """The threads that drive Ray Train and Ray Tune."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []

    def start(self, work: Callable[[], None], after: Callable[[], None] = lambda: None) -> None:
        """Run `work` beside the others; `after` whatever happens."""

        def lane() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - handed to the main thread, which raises it
                self._errors.append(error)
            finally:
                after()

        thread = threading.Thread(target=lane, daemon=True)
        thread.start()
        self._threads.append(thread)

    def running(self) -> bool:
        """Whether any lane is still at work."""
        return any(thread.is_alive() for thread in self._threads)

    def raise_first_error(self) -> None:
        """Raises BrokenOffError when a lane ended in an error."""
        if self._errors:
            raise BrokenOffError(
                1, f"Ray gave up: {self._errors[0]}; what is done is kept, the same command goes on"
            ) from self._errors[0]


def _on_head(kind: type, name: str) -> Any:
    """A named actor class without CPU, held on the head node, where it outlives spot nodes."""
    return ray.remote(kind).options(
        name=name, num_cpus=0, resources={"node:__internal_head__": 0.001}
    )


def _final_tables(
    aggregator: ActorHandle[Aggregator], plan: Plan, records: Mapping[str, Record]
) -> Snapshot:
    """The aggregator's tables, or the same computed here if it was lost."""
    try:
        tables: Any = ray.get(aggregator.snapshot.remote())
        return tables
    except RayError:
        tables = LiveTables(plan)
        for record in records.values():
            tables.add(record)
        return tables.snapshot()
