"""One sweep from the first missing unit to the last."""

import contextlib
import uuid
from dataclasses import dataclass

from ray.exceptions import RayError

from tamt_ray.execution.activity import Monitor
from tamt_ray.execution.actors import on_head
from tamt_ray.execution.aggregator import Aggregation
from tamt_ray.execution.cluster.address import live_name
from tamt_ray.execution.cluster.autoscaler import (
    Autoscaler,
    nodes_to_come,
)
from tamt_ray.execution.cluster.connection import connected
from tamt_ray.execution.fleet.fleet import run_fleet
from tamt_ray.execution.fleet.gpu_share import measured_share
from tamt_ray.execution.gang.gang import run_gang
from tamt_ray.execution.gang.gangs import Gangs
from tamt_ray.execution.interruption import Lanes, caught_signals, gave_up
from tamt_ray.execution.places import Places
from tamt_ray.execution.proposer import Proposer
from tamt_ray.execution.run_loop import Ledger, RunLoop, Watch
from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.client import BoardClient
from tamt_ray.execution.scheduler.placement import (
    GangSize,
    fleet_slots,
    gang_size,
)
from tamt_ray.plan.cost import UNREAD, Prices, prices, usual_prices
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.sizes import Sizes
from tamt_ray.plan.status import Decision, decide
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store
from tamt_ray.tracking.tracker import Tracker

_STARTS = 60.0
"""Seconds that an actor has at least to start on a busy machine."""


@dataclass(frozen=True)
class Call:
    """Options of a run beside the sweep itself."""

    address: str | None = None
    fail_fast: bool = False
    measured: Prices | None = None
    """Prices by what the store holds, of other sweeps too; None where it holds nothing."""
    whole: Plan | None = None
    """The plan of the whole sweep, if this run is about a part; the live tables show all of it."""
    sizes: Sizes = UNREAD
    """Sizes of models and data, for the prices."""


def run(
    sweep: Sweep,
    plan: Plan,
    store: Store,
    ledger: Ledger,
    tracker: Tracker,
    call: Call,
    watch: Watch,
    proposer: Proposer | None = None,
) -> None:
    """Run what is missing, and what a `proposer` adds to the plan; `ledger` grows as records land.

    Raises ClusterError, InfeasibleError, LeaseLostError or BrokenOffError.
    """
    execution = sweep.execution
    decisions = decide(plan, ledger.records, ledger.failures)
    open_units = [plan.units[i] for i, d in decisions.items() if d in {Decision.RUN, Decision.WAIT}]
    live = live_name(sweep.name, store.uri, store.fence.epoch if store.fence else 0)
    with connected(call.address, live, watch) as nodes, caught_signals() as signals:
        name = f"tamt-{uuid.uuid4().hex[:12]}"
        autoscaler = Autoscaler(nodes_to_come(execution, call.address), name)
        possible = [*nodes.resources, *autoscaler.to_come]
        size = gang_size(execution, possible)
        try:
            share = measured_share(sweep, possible, signals.raise_if_caught)
            slots = fleet_slots(execution, possible, share)
        except RayError as error:
            raise gave_up(error) from error
        slots.resize(nodes.resources)
        board = BoardClient(
            on_head(BoardActor, f"{name}-board", restarts=True).remote(
                execution.retries, execution.patience
            ),
            patience=max(_STARTS, execution.patience),
        )
        gpus = any(node.get("GPU") for node in possible)
        usual = call.measured or usual_prices(execution, gpus, call.sizes)
        known = prices(plan.units, ledger.records, usual)
        board.open(
            plan, [*ledger.records], [*ledger.failures], prices=known, more=proposer is not None
        )
        lanes = Lanes()

        def start(gang: str, size: GangSize) -> None:
            lanes.start(
                lambda: run_gang(gang, f"{name}-board", store, size, execution, gangs.fit),
                lambda: gangs.ended(gang),
            )

        gangs = Gangs(name, execution.search, size, slots, start)
        places = Places(execution.search, size, nodes, slots, gangs, autoscaler)
        if asked := places.adjust(board.demand()):
            watch(asked)
        searches = sum(unit.lane == "gang" for unit in open_units)
        if len(open_units) > searches:
            lanes.start(lambda: run_fleet(f"{name}-board", store, slots, execution))
        aggregation = Aggregation(live, store, call.whole or plan)
        monitor = Monitor(plan, ledger.records, ledger.failures, usual, lambda: max(1, slots.total))
        loop = RunLoop(
            plan,
            store,
            ledger,
            tracker,
            call.fail_fast,
            watch,
            board,
            aggregation,
            monitor,
            places,
            proposer,
        )
        try:
            loop.follow(lanes, signals, execution.grace)
        except RayError as error:
            raise gave_up(error) from error
        finally:
            # The signal that ended the run may have ended Ray too; then no nodes are added.
            with contextlib.suppress(RayError, RuntimeError):
                autoscaler.request([])
