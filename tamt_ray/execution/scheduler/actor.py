"""The board inside one actor: gangs and fleet take from it, the driver follows its events."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from functools import partial

from tamt_ray.data.history import Point
from tamt_ray.execution.actors import is_gone
from tamt_ray.execution.scheduler.assignment import Assignment, failure_of, left_logs
from tamt_ray.execution.scheduler.board import Board, Demand, Lane, State
from tamt_ray.execution.scheduler.clock import Later, ticks
from tamt_ray.execution.scheduler.controllers import Controllers
from tamt_ray.execution.scheduler.faults import (
    AttemptHistory,
    Fault,
    GiveUp,
    NodeHealth,
    Retry,
    after_fault,
)
from tamt_ray.execution.scheduler.feed import EventFeed
from tamt_ray.execution.scheduler.messages import (
    BEAT,
    Event,
    Failed,
    Idle,
    Known,
    Landed,
    Lost,
    Offer,
    Started,
    Worker,
    WorkerCommand,
)
from tamt_ray.plan.cost import ROUGH, Prices
from tamt_ray.plan.expand import Plan
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.trouble import UnwritableError


class BoardActor:
    """Serialises every decision; waits are events, never sleeps.

    If it dies, Ray restarts it empty. The driver then opens it again from the store and from the
    events that it received, and workers report their units with their next heartbeat.
    """

    def __init__(self, retries: int, patience: float) -> None:
        """`patience`: seconds without progress after which a worker counts as hung.

        The plan is no argument: Ray may have lost a large one when it restarts the actor.
        """
        self._plan = Plan({}, {})
        self._retries = retries
        self._patience = patience
        self._board = Board(self._plan)
        self._opened = asyncio.Event()
        self._feed = EventFeed()
        self._assignments: dict[str, Assignment] = {}
        self._taken: Counter[str] = Counter()
        self._histories: dict[str, AttemptHistory] = {}
        self._wider: set[str] = set()
        self._written_off: set[tuple[str, str]] = set()
        """Holders with units that they will not finish, whatever signs of life still come."""
        self._gone: Counter[str] = Counter()
        """Losses of each holder; a waiting call of the lost one ends."""
        self._controllers = Controllers(patience)
        self._health = NodeHealth()
        self._draining: frozenset[str] = frozenset()
        self._stopped = self._saving = self._more = False
        self._later = Later()

    async def open(
        self,
        plan: Plan,
        done: Collection[str],
        failed: Collection[str],
        pause: float = 0.0,
        prices: Prices = ROUGH,
        known: Known | None = None,
        more: bool = False,
    ) -> None:
        """Begin to hand out units, after a `pause` for workers that hold some already.

        `known`: from the board before this one. `more`: `extend` may bring further units.
        """
        self._more = more
        known = known or Known()
        self._plan = plan
        self._histories = dict(known.histories)
        self._wider = {
            unit for unit, past in self._histories.items() if Fault.MEMORY in past.counts
        }
        attempts = {unit: past.attempts for unit, past in self._histories.items()}
        self._board = Board(plan, done, failed, prices, attempts)
        for unit in known.running:
            if self._board.claim(unit.unit):
                self._assignments[unit.holder] = Assignment(unit.unit, unit.attempt, silent=0.0)
                self._taken[unit.holder] += 1
        self._resume = time.monotonic() + pause
        self._opened.set()
        for unit in known.running:
            self._later(pause, partial(self._missed, unit.holder, unit.unit))
        self._later(pause, self._feed.wake)
        self._later(0.0, self._watch)

    async def extend(self, plan: Plan, done: Collection[str], more: bool) -> None:
        """Take in the units of `plan` that are new. Not `more`: they are the last ones."""
        # A board that was restarted meanwhile is opened with the whole plan by the driver.
        if self._opened.is_set():
            self._plan, self._more = plan, more
            self._board.extend(plan, done)
            await self._feed.wake()

    async def take(
        self,
        lane: Lane,
        holder: str,
        wait: float = 0.0,
        alike: bool = False,
    ) -> Offer | Idle:
        """Return the next unit for a worker; wait up to `wait` seconds for one.

        `alike`: no unit while one is ready that needs a larger share than such a worker has. A
        worker that asks again has lost the unit that it held. A gang that waited in vain gets
        FINISHED where other gangs are at work: its places are needed elsewhere, and the others, or
        new gangs, take what gets ready.
        """
        await self._opened.wait()
        self._controllers.asked(holder)
        await self._end_attempt(holder, Fault.DIED)
        deadline, gone = time.monotonic() + wait, self._gone[holder]
        while True:
            over = self._board.finished(lane) and not self._more
            if self._stopped or over or self._gone[holder] > gone:
                return Idle.FINISHED
            now = time.monotonic()
            ready = (each for each in self._wider if self._board.state(each) is State.READY)
            if alike and any(self._plan.units[each].lane == lane for each in ready):
                return Idle.WAIT
            if now >= self._resume and (unit := self._board.take(lane)):
                attempt = self._board.attempts(unit.id)
                self._assignments[holder] = Assignment(unit.id, attempt)
                self._written_off.discard((holder, unit.id))
                self._taken[holder] += 1
                return Offer(unit, attempt, unit.id in self._wider)
            if now >= deadline:
                return Idle.FINISHED if lane == "gang" and self._searching() else Idle.WAIT
            await self._feed.changed(deadline - now)

    async def demand(self) -> Demand:
        """Return the searches that wait for a gang."""
        if self._stopped or not self._opened.is_set() or time.monotonic() < self._resume:
            return Demand((), 0, 0.0)
        searching = self._searching()
        tunes = self._board.queued("fleet") + len(self._assignments) - searching
        return Demand(self._board.ready("gang"), searching, self._board.left, tunes)

    async def started(self, holder: str, unit_id: str, rank: int, worker: Worker) -> WorkerCommand:
        """Note that a worker of a holder begins; return its command."""
        await self._opened.wait()
        if rank == 0:
            await self._brake(holder, unit_id, worker.node)
        order = self._order(holder, unit_id, worker)
        if order is WorkerCommand.GO_ON:
            hold = self._assignments[holder]
            hold.workers[rank] = worker
            hold.silent = 0.0
            if rank == 0:
                await self._feed.publish(Started(unit_id, hold.attempt, worker.place, holder))
        elif order is WorkerCommand.SAVE:
            await self._end_attempt(holder, Fault.NODE)
        return order

    async def _brake(self, holder: str, unit_id: str, node: str) -> None:
        """Delay a worker on an unhealthy node, while others may take its unit; less long than the
        other workers of a gang wait."""
        pause = min(self._health.pause(node), self._patience / 4)
        if pause and (hold := self._assignments.get(holder)) and hold.unit == unit_id:
            del self._assignments[holder]
            await self._release(unit_id)
        until = time.monotonic() + pause
        while not self._stopped and time.monotonic() < until:
            await asyncio.sleep(BEAT)

    async def arrived(self, holder: str, worker: Worker) -> None:
        """Watch the process that will do a holder's unit; its failure counts against its node."""
        await self._opened.wait()
        if hold := self._assignments.get(holder):
            hold.workers.setdefault(0, worker)
            hold.silent = 0.0

    async def beat(
        self,
        holder: str,
        unit_id: str,
        rank: int,
        step: int,
        steps: int,
        worker: Worker,
        points: tuple[Point, ...] = (),
    ) -> WorkerCommand:
        """Take a worker's heartbeat; return its command. The first worker of a gang brings its step
        and new points of its curve."""
        await self._opened.wait()
        order = self._order(holder, unit_id, worker)
        hold = self._assignments.get(holder)
        if order is not WorkerCommand.DROP and hold:
            hold.workers.setdefault(rank, worker)
            if hold.silent is None:
                hold.silent = 0.0
            further = rank == 0 and step != hold.step
            if further:
                hold.step, hold.silent = step, 0.0
            if further or points:
                self._feed.reached(unit_id, step, steps, points)
        return order

    async def landed(self, holder: str, record: Record) -> None:
        """Note that a record was committed."""
        await self._opened.wait()
        self._feed.forget(record.id)
        if hold := self._assignments.get(holder):
            self._health.landed(hold.nodes)
            if hold.unit == record.id:
                del self._assignments[holder]
        self._board.finish(record.id)
        await self._feed.publish(Landed(record))

    async def failed(self, holder: str, rank: int, failure: Failure, fault: Fault) -> None:
        """Note that a worker raised."""
        await self._opened.wait()
        if (hold := self._assignments.get(holder)) and hold.unit == failure.id:
            await self._end_attempt(holder, fault, failure, rank)

    async def lost(self, holder: str, fault: Fault) -> int | None:
        """Note that a holder is gone; return the number of units that it was handed in all, or None
        once no more are handed out."""
        await self._opened.wait()
        self._gone[holder] += 1
        self._controllers.ended(holder)
        # It would have reported an error of its own.
        await self._end_attempt(holder, Fault.DIED if fault is Fault.ERROR else fault)
        return None if self._stopped else self._taken[holder]

    async def controlled(self, gang: str, controller: bytes, placed: bool) -> None:
        """Take the heartbeat of a gang's controller, by its handle; `placed`: the workers have
        their places."""
        self._controllers.beat(gang, controller, placed)

    async def ended(self, gang: str) -> None:
        """Note that a gang ended well."""
        self._controllers.ended(gang)

    async def drain(self, nodes: frozenset[str]) -> None:
        """Note that these nodes, by id, will be taken away."""
        self._draining = nodes

    async def stop(self, save: bool) -> None:
        """Hand out nothing more; `save`: running units save their states and leave."""
        self._stopped, self._saving = True, save or self._saving
        await self._feed.wake()

    async def events(self, after: int, wait: float) -> tuple[int, list[Event]] | None:
        """Return `EventFeed.since`; None where the board is new and has to be opened."""
        if not self._opened.is_set():
            return None
        return await self._feed.since(after, wait)

    def _order(self, holder: str, unit_id: str, worker: Worker) -> WorkerCommand:
        hold = self._assignments.get(holder)
        mine = (holder, unit_id) not in self._written_off
        if (hold is None or hold.unit != unit_id) and mine and self._board.claim(unit_id):
            # A board before this one handed it out.
            if hold:
                self._later(0.0, partial(self._release, hold.unit))
            hold = self._assignments[holder] = Assignment(unit_id, self._board.attempts(unit_id))
        if hold is None or hold.unit != unit_id:
            return WorkerCommand.DROP
        if self._saving:
            return WorkerCommand.STOP
        return (
            WorkerCommand.SAVE
            if {worker.node, *hold.nodes} & self._draining
            else WorkerCommand.GO_ON
        )

    async def _end_attempt(
        self, holder: str, fault: Fault, failure: Failure | None = None, rank: int | None = None
    ) -> None:
        """End an attempt without a record; the policy decides whether there is another.

        The worker of `rank`, if any, reported it and keeps its log itself.
        """
        hold = self._assignments.pop(holder, None)
        if hold and fault is Fault.DIED:
            lost = [await asyncio.to_thread(is_gone, node) for node in hold.nodes]
            fault = Fault.NODE if any(lost) else fault
        if hold is None or self._board.state(hold.unit).terminal:
            return
        self._written_off.add((holder, hold.unit))
        # A full disk that all share ends the run, whichever node reports it first.
        if failure is None or failure.error != UnwritableError.__name__:
            fault = self._health.charge(hold.nodes, hold.unit, fault)
        past = self._histories.get(hold.unit, AttemptHistory()).with_fault(fault, hold.step)
        self._histories[hold.unit] = past
        # A worker that raised an error is alive and keeps its log.
        lost = fault in {Fault.DIED, Fault.HUNG, Fault.NODE}
        unit = self._plan.units[hold.unit]
        logs = left_logs(hold, unit, rank) if lost else ()
        match after_fault(past, fault, self._retries):
            case Retry(after, wider):
                if wider:
                    self._wider.add(hold.unit)
                self._later(after, partial(self._release, hold.unit))
                await self._feed.publish(Lost(hold.unit, hold.attempt, fault, after, past, logs))
            case GiveUp(reason):
                self._board.fail(hold.unit)
                attempts = self._board.attempts(hold.unit)
                failed = failure_of(unit, attempts, fault, reason, failure)
                await self._feed.publish(Failed(failed, logs))

    async def _missed(self, holder: str, unit_id: str) -> None:
        """Give up a unit whose holder, under the previous board, has sent no heartbeat."""
        hold = self._assignments.get(holder)
        if hold and hold.unit == unit_id and not hold.workers:
            await self._end_attempt(holder, Fault.DIED)

    async def _release(self, unit_id: str) -> None:
        self._board.release(unit_id)
        await self._feed.wake()

    async def _watch(self) -> None:
        """Kill workers that got no further for longer than the patience lasts, and controllers that
        are silent or whose gang hangs without a search."""
        async for passed in ticks(min(BEAT, self._patience / 4)):
            for holder, hold in list(self._assignments.items()):
                if hold.wait(passed) > self._patience:
                    hold.kill()
                    await self._end_attempt(holder, Fault.HUNG)
            at_work = {holder for holder, hold in self._assignments.items() if hold.workers}
            self._controllers.wait(passed, at_work)

    def _searching(self) -> int:
        units = (self._plan.units[hold.unit] for hold in self._assignments.values())
        return sum(unit.lane == "gang" for unit in units)
