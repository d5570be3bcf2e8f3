"""The board inside one actor: gangs and fleet take from it, the driver follows its events."""

import asyncio
import os
import socket
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any

import ray
from ray.actor import ActorHandle

from tamt_ray.execution.board import Board, Lane
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Unit
from tamt_ray.store.record import Failure, Record

NAMESPACE = "tamt"


class Idle(Enum):
    """Why there is no unit to run."""

    WAIT = "none is ready yet"
    FINISHED = "none will be"


@dataclass(frozen=True)
class Started:
    """A worker began a unit; `place` is its host, process and GPUs."""

    unit: str
    attempt: int
    place: str


@dataclass(frozen=True)
class Progressed:
    """A unit reached a step."""

    unit: str
    step: int
    steps: int


@dataclass(frozen=True)
class Landed:
    """A unit's record is in the store."""

    record: Record


@dataclass(frozen=True)
class Failed:
    """A unit is set aside."""

    failure: Failure


@dataclass(frozen=True)
class Lost:
    """A unit's worker died; the unit is ready again."""

    unit: str
    attempt: int


Event = Started | Progressed | Landed | Failed | Lost


class BoardActor:
    """Serialises every decision; waits are events, never sleeps."""

    def __init__(self, plan: Plan, done: list[str], failed: list[str], retries: int) -> None:
        self._units = plan.units
        self._board = Board(plan, done, failed)
        self._retries = retries
        self._events: list[Event] = []
        self._first = 0
        self._changed = asyncio.Condition()
        self._stopped = False
        self._held: dict[str, str] = {}

    async def take(self, lane: Lane, holder: str, wait: float = 0.0) -> Unit | Idle:
        """The next unit for a worker, waiting for one up to `wait` seconds.

        A worker that asks again has lost what it still held.
        """
        if holder in self._held:
            await self.lost(self._held.pop(holder))
        deadline = time.monotonic() + wait
        while True:
            if self._stopped or self._board.finished(lane):
                return Idle.FINISHED
            if unit := self._board.take(lane):
                self._held[holder] = unit.id
                return unit
            left = deadline - time.monotonic()
            if left <= 0:
                return Idle.WAIT
            async with self._changed:
                try:
                    await asyncio.wait_for(self._changed.wait(), left)
                except TimeoutError:
                    return Idle.WAIT

    async def started(self, unit_id: str, place: str) -> None:
        """A worker begins."""
        await self._tell(Started(unit_id, self._board.attempts(unit_id), place))

    async def progressed(self, unit_id: str, step: int, steps: int) -> None:
        """A worker is under way."""
        await self._tell(Progressed(unit_id, step, steps))

    async def landed(self, record: Record) -> None:
        """A record was committed."""
        self._let_go(record.id)
        self._board.finish(record.id)
        await self._tell(Landed(record))

    async def failed(self, failure: Failure) -> None:
        """A unit raised; its error is deterministic, so it is not tried again."""
        self._let_go(failure.id)
        self._board.fail(failure.id)
        await self._tell(Failed(failure))

    async def lost(self, unit_id: str) -> None:
        """A unit's worker died: ready again, or set aside once it was lost too often."""
        self._let_go(unit_id)
        if self._board.state(unit_id).terminal:
            return
        unit, attempt = self._units[unit_id], self._board.attempts(unit_id)
        if attempt <= self._retries:
            self._board.release(unit_id)
            await self._tell(Lost(unit_id, attempt))
            return
        self._board.fail(unit_id)
        message = f"its worker died {attempt} times; see the Ray logs of that worker"
        failure = Failure(
            id=unit_id, kind=unit.kind, labels=dict(unit.labels), error="WorkerLost",
            message=message, traceback="", attempts=attempt, at=time.time(),
        )  # fmt: skip
        await self._tell(Failed(failure))

    async def stop(self) -> None:
        """Hand out nothing more."""
        self._stopped = True
        async with self._changed:
            self._changed.notify_all()

    async def events(self, after: int, wait: float) -> tuple[int, list[Event]]:
        """Events from number `after` on and the number to ask for next; waits for the first.

        What was handed over is forgotten: there is one driver.
        """
        del self._events[: after - self._first]
        self._first = after
        if not self._events:
            async with self._changed:
                try:
                    await asyncio.wait_for(self._changed.wait(), wait)
                except TimeoutError:
                    return after, []
        return after + len(self._events), list(self._events)

    def _let_go(self, unit_id: str) -> None:
        self._held = {holder: held for holder, held in self._held.items() if held != unit_id}

    async def _tell(self, event: Event) -> None:
        self._events.append(event)
        async with self._changed:
            self._changed.notify_all()


@dataclass(frozen=True)
class BoardClient:
    """The board as seen from any process of the cluster."""

    actor: ActorHandle[BoardActor]

    @staticmethod
    def named(name: str) -> "BoardClient":
        """The board of a running sweep."""
        return BoardClient(ray.get_actor(name, NAMESPACE))

    def take(self, lane: Lane, holder: str, wait: float = 0.0) -> Unit | Idle:
        """See `BoardActor.take`."""
        return _answer(self.actor.take.remote(lane, holder, wait))

    def started(self, unit_id: str, place: str) -> None:
        """See `BoardActor.started`."""
        _answer(self.actor.started.remote(unit_id, place))

    def progressed(self, unit_id: str, step: int, steps: int) -> None:
        """Told without waiting: nothing depends on it."""
        self.actor.progressed.remote(unit_id, step, steps)

    def landed(self, record: Record) -> None:
        """See `BoardActor.landed`."""
        _answer(self.actor.landed.remote(record))

    def failed(self, failure: Failure) -> None:
        """See `BoardActor.failed`."""
        _answer(self.actor.failed.remote(failure))

    def lost(self, unit_id: str) -> None:
        """See `BoardActor.lost`."""
        _answer(self.actor.lost.remote(unit_id))

    def stop(self) -> None:
        """See `BoardActor.stop`."""
        _answer(self.actor.stop.remote())

    def events(self, after: int, wait: float) -> tuple[int, list[Event]]:
        """See `BoardActor.events`."""
        return _answer(self.actor.events.remote(after, wait))


def this_place() -> str:
    """Host, process and GPUs of the calling worker, for people."""
    gpus = ",".join(map(str, ray.get_gpu_ids()))
    return f"{socket.gethostname()} pid {os.getpid()}" + (f" GPU {gpus}" if gpus else "")


def _answer(reference: Any) -> Any:
    """What a call returned; Ray's own types lose it."""
    return ray.get(reference)
