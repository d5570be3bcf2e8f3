"""The board as workers and driver call it."""

import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError
from ray.util.placement_group import PlacementGroup

from tamt_ray.data.history import Point
from tamt_ray.execution.actors import NAMESPACE
from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.board import Demand, Lane
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.messages import (
    BEAT,
    Event,
    Idle,
    Known,
    Offer,
    Worker,
    WorkerCommand,
)
from tamt_ray.plan.cost import Prices
from tamt_ray.plan.expand import Plan
from tamt_ray.store.record import Failure, Record


@dataclass(frozen=True)
class BoardClient:
    """The board as seen from any process of the cluster."""

    actor: ActorHandle[BoardActor]

    @staticmethod
    def named(name: str) -> "BoardClient":
        """The board of a running sweep."""
        return BoardClient(ray.get_actor(name, NAMESPACE))

    def open(
        self,
        plan: Plan,
        done: Collection[str],
        failed: Collection[str],
        prices: Prices,
        pause: float = 0.0,
        known: Known | None = None,
        more: bool = False,
    ) -> None:
        """See `BoardActor.open`."""
        _answer(self.actor.open, plan, list(done), list(failed), pause, prices, known, more)

    def extend(self, plan: Plan, done: Collection[str], more: bool) -> None:
        """See `BoardActor.extend`."""
        _answer(self.actor.extend, plan, list(done), more)

    def take(
        self,
        lane: Lane,
        holder: str,
        wait: float = 0.0,
        alike: bool = False,
        places: PlacementGroup | None = None,
    ) -> Offer | Idle:
        """See `BoardActor.take`."""
        return _answer(self.actor.take, lane, holder, wait, alike, places)

    def demand(self) -> Demand:
        """See `BoardActor.demand`."""
        return _answer(self.actor.demand)

    def started(self, holder: str, unit_id: str, rank: int, worker: Worker) -> WorkerCommand:
        """See `BoardActor.started`."""
        return _answer(self.actor.started, holder, unit_id, rank, worker)

    def arrived(self, holder: str, worker: Worker) -> None:
        """See `BoardActor.arrived`."""
        _answer(self.actor.arrived, holder, worker)

    def beat(
        self,
        holder: str,
        unit_id: str,
        rank: int,
        step: int,
        steps: int,
        worker: Worker,
        points: tuple[Point, ...] = (),
    ) -> WorkerCommand:
        """See `BoardActor.beat`."""
        return _answer(self.actor.beat, holder, unit_id, rank, step, steps, worker, points)

    def landed(self, holder: str, record: Record) -> None:
        """See `BoardActor.landed`."""
        _answer(self.actor.landed, holder, record)

    def failed(self, holder: str, rank: int, failure: Failure, fault: Fault) -> None:
        """See `BoardActor.failed`."""
        _answer(self.actor.failed, holder, rank, failure, fault)

    def lost(self, holder: str, fault: Fault) -> int | None:
        """See `BoardActor.lost`."""
        return _answer(self.actor.lost, holder, fault)

    def drain(self, nodes: frozenset[str]) -> None:
        """See `BoardActor.drain`."""
        _answer(self.actor.drain, nodes)

    def stop(self, save: bool) -> None:
        """See `BoardActor.stop`."""
        _answer(self.actor.stop, save)

    def events(self, after: int, wait: float) -> tuple[int, list[Event]] | None:
        """See `BoardActor.events`."""
        return _answer(self.actor.events, after, wait)


def this_place() -> str:
    """Host, process and GPUs of the calling worker, for people."""
    gpus = ",".join(map(str, ray.get_gpu_ids()))
    return f"{socket.gethostname()} pid {os.getpid()}" + (f" GPU {gpus}" if gpus else "")


def this_worker(log: str = "") -> Worker:
    """The calling worker; `log`: where its output is kept, if it is yet."""
    context = ray.get_runtime_context()
    return Worker(this_place(), context.get_node_id(), log, context.current_actor)


def _answer(method: Any, *arguments: object) -> Any:
    """What a call returned; Ray's own types lose it.

    Ray makes a call again by itself when the board is lost, but not when the host killed it for
    want of memory.
    """
    while True:
        try:
            return ray.get(method.remote(*arguments))
        except OutOfMemoryError:
            time.sleep(BEAT)
