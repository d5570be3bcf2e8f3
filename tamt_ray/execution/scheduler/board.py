"""The state of a sweep: which unit may run next. A pure machine; it decides and never acts."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from tamt_ray.plan.cost import ROUGH, Prices
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Unit
from tamt_ray.values.config import Lane


class State(Enum):
    """State of a unit."""

    WAITING = "waiting"
    """A parent is not finished."""
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    """A parent failed, so it can never run."""

    @property
    def terminal(self) -> bool:
        """True for a state that does not change any more."""
        return self is State.DONE or self is State.FAILED or self is State.BLOCKED


@dataclass(frozen=True)
class Demand:
    """Searches that wait for a gang. Times are estimated seconds on one device."""

    paths: tuple[float, ...]
    """Time from the start of each ready search to the end of the longest chain behind it, in the
    order of assignment."""
    at_work: int
    """Gangs that have a search."""
    left: float
    """Work left in all."""
    tunes: int = 0
    """Units of the fleet that are ready or at work."""


class Board:
    """Hands out units whose needs are met: those with the longest path before them first, in
    seconds, then those that unblock most others."""

    def __init__(
        self,
        plan: Plan,
        done: Iterable[str] = (),
        failed: Iterable[str] = (),
        prices: Prices = ROUGH,
        attempts: Mapping[str, int] | None = None,
    ) -> None:
        """`done` and `failed` are known from the store before anything runs, `attempts` at units
        from the board before this one."""
        self._prices = prices
        self._state: dict[str, State] = {}
        self._open: dict[Lane, int] = {"gang": 0, "fleet": 0}
        self.left = 0.0
        """Estimated seconds of all units that are in no terminal state."""
        self._attempts = Counter(attempts or {})
        self.extend(plan, done, failed)

    def extend(self, plan: Plan, done: Iterable[str] = (), failed: Iterable[str] = ()) -> None:
        """Take in the units of `plan`, which has all those known so far; these stay as they are."""
        self._units: Mapping[str, Unit] = plan.units
        self._children: dict[str, list[str]] = {}
        for unit in plan.units.values():
            for need in unit.needs:
                self._children.setdefault(need, []).append(unit.id)
            if unit.id not in self._state:
                self._state[unit.id] = State.WAITING
                self._open[unit.lane] += 1
                self.left += self._prices.seconds(unit)
        self._paths = self._longest_paths()
        self._ranked = sorted(
            self._units, key=lambda each: (-self._paths[each], -len(self._children.get(each, ())))
        )
        self._rank = {unit_id: rank for rank, unit_id in enumerate(self._ranked)}
        self._queues: dict[Lane, list[int]] = {"gang": [], "fleet": []}
        """Heaps of ranks; what was claimed, or closed while it was ready, stays in them."""
        for unit_id in done:
            if not self._state[unit_id].terminal:
                self._close(unit_id, State.DONE)
        for unit_id in failed:
            self.fail(unit_id)
        for unit in plan.units.values():
            state = self._state[unit.id]
            if state is State.READY:
                heapq.heappush(self._queues[unit.lane], self._rank[unit.id])
            elif state is State.WAITING and any(
                self._state[need] in {State.FAILED, State.BLOCKED} for need in unit.needs
            ):
                self._close(unit.id, State.BLOCKED)
            self._wake(unit.id)

    def take(self, lane: Lane) -> Unit | None:
        """Return the next unit of a lane, now running; None while none is ready."""
        heap = self._queues[lane]
        while heap:
            unit_id = self._ranked[heapq.heappop(heap)]
            if self.claim(unit_id):
                return self._units[unit_id]
        return None

    def claim(self, unit_id: str) -> bool:
        """Return whether a unit was ready; if so, count it as running."""
        if self._state[unit_id] is not State.READY:
            return False
        self._state[unit_id] = State.RUNNING
        self._attempts[unit_id] += 1
        return True

    def finish(self, unit_id: str) -> None:
        """Note that a unit's record is in the store; its children may become ready."""
        if self._state[unit_id].terminal:
            return
        self._close(unit_id, State.DONE)
        for child in self._children.get(unit_id, ()):
            self._wake(child)

    def fail(self, unit_id: str) -> None:
        """Note that a unit will not finish; nothing that needs it can run."""
        if self._state[unit_id].terminal:
            return
        self._close(unit_id, State.FAILED)
        stack = list(self._children.get(unit_id, ()))
        while stack:
            child = stack.pop()
            if not self._state[child].terminal:
                self._close(child, State.BLOCKED)
                stack.extend(self._children.get(child, ()))

    def release(self, unit_id: str) -> None:
        """Its worker was lost; the unit is ready again."""
        if self._state[unit_id] is State.RUNNING:
            self._state[unit_id] = State.WAITING
            self._wake(unit_id)

    def ready(self, lane: Lane) -> tuple[float, ...]:
        """Return the seconds from each ready unit's beginning to the end of the longest chain that
        waits for it, in the order in which units are taken."""
        ids = [self._ranked[rank] for rank in sorted(set(self._queues[lane]))]
        return tuple(self._paths[each] for each in ids if self._state[each] is State.READY)

    def queued(self, lane: Lane) -> int:
        """About how many units could be taken: few of them may just have been."""
        return len(self._queues[lane])

    def attempts(self, unit_id: str) -> int:
        """Return the number of times that a unit was handed out."""
        return self._attempts[unit_id]

    def state(self, unit_id: str) -> State:
        """Return the state of a unit."""
        return self._state[unit_id]

    def finished(self, lane: Lane | None = None) -> bool:
        """Return whether every unit of a lane, or of the sweep, is in a terminal state."""
        return sum(self._open.values()) == 0 if lane is None else self._open[lane] == 0

    def _close(self, unit_id: str, state: State) -> None:
        unit = self._units[unit_id]
        self._state[unit_id] = state
        self._open[unit.lane] -= 1
        self.left -= self._prices.seconds(unit)

    def _wake(self, unit_id: str) -> None:
        if self._state[unit_id] is not State.WAITING:
            return
        unit = self._units[unit_id]
        if all(self._state[need] is State.DONE for need in unit.needs):
            self._state[unit_id] = State.READY
            heapq.heappush(self._queues[unit.lane], self._rank[unit_id])

    def _longest_paths(self) -> dict[str, float]:
        """Return the seconds from each unit's beginning to the end of the longest chain that waits
        for it."""
        paths: dict[str, float] = {}
        for unit_id in reversed(list(self._units)):
            after = max((paths[child] for child in self._children.get(unit_id, ())), default=0.0)
            paths[unit_id] = self._prices.seconds(self._units[unit_id]) + after
        return paths
