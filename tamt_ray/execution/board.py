"""The state of a sweep: which unit may run next. A pure machine; it decides and never acts."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Literal

from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import KINDS, Kind, Unit

Lane = Literal["gang", "fleet"]


class State(Enum):
    """Where a unit stands."""

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
        """Whether the unit will not change any more."""
        return self in {State.DONE, State.FAILED, State.BLOCKED}


class Board:
    """Hands out units whose needs are met, those that unblock most others first."""

    def __init__(self, plan: Plan, done: Iterable[str] = (), failed: Iterable[str] = ()) -> None:
        """`done` and `failed` are known from the store before anything runs."""
        self._units: Mapping[str, Unit] = plan.units
        self._children: dict[str, list[str]] = {}
        for unit in plan.units.values():
            for need in unit.needs:
                self._children.setdefault(need, []).append(unit.id)
        self._rank = self._ranks()
        self._state = dict.fromkeys(plan.units, State.WAITING)
        self._open = {"gang": 0, "fleet": 0}
        for unit in plan.units.values():
            self._open[lane_of(unit)] += 1
        self._ready: dict[Lane, list[tuple[int, int, str]]] = {"gang": [], "fleet": []}
        self._order = {unit_id: number for number, unit_id in enumerate(plan.units)}
        self._attempts: Counter[str] = Counter()
        for unit_id in done:
            self._close(unit_id, State.DONE)
        for unit_id in failed:
            self.fail(unit_id)
        for unit_id in plan.units:
            self._wake(unit_id)

    def take(self, lane: Lane) -> Unit | None:
        """The next unit of a lane, now running; None while none is ready."""
        heap = self._ready[lane]
        while heap:
            _, _, unit_id = heapq.heappop(heap)
            if self._state[unit_id] is State.READY:
                self._state[unit_id] = State.RUNNING
                self._attempts[unit_id] += 1
                return self._units[unit_id]
        return None

    def claim(self, unit_id: str) -> bool:
        """Whether a unit was ready; it counts as running now."""
        if self._state[unit_id] is not State.READY:
            return False
        self._state[unit_id] = State.RUNNING
        self._attempts[unit_id] += 1
        return True

    def finish(self, unit_id: str) -> None:
        """A unit's record is in the store; its children may become ready."""
        if self._state[unit_id].terminal:
            return
        self._close(unit_id, State.DONE)
        for child in self._children.get(unit_id, ()):
            self._wake(child)

    def fail(self, unit_id: str) -> None:
        """A unit will not finish; nothing that needs it can run."""
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

    def attempts(self, unit_id: str) -> int:
        """How often a unit was handed out."""
        return self._attempts[unit_id]

    def state(self, unit_id: str) -> State:
        """Where a unit stands."""
        return self._state[unit_id]

    def finished(self, lane: Lane | None = None) -> bool:
        """Whether every unit of a lane, or of the sweep, is in a terminal state."""
        return sum(self._open.values()) == 0 if lane is None else self._open[lane] == 0

    def counts(self) -> dict[Kind, Counter[State]]:
        """How many units of each kind are in each state."""
        counts: dict[Kind, Counter[State]] = {kind: Counter() for kind in KINDS}
        for unit_id, state in self._state.items():
            counts[self._units[unit_id].kind][state] += 1
        return counts

    def _close(self, unit_id: str, state: State) -> None:
        self._state[unit_id] = state
        self._open[lane_of(self._units[unit_id])] -= 1

    def _wake(self, unit_id: str) -> None:
        if self._state[unit_id] is not State.WAITING:
            return
        unit = self._units[unit_id]
        if all(self._state[need] is State.DONE for need in unit.needs):
            self._state[unit_id] = State.READY
            entry = (-self._rank[unit_id], self._order[unit_id], unit_id)
            heapq.heappush(self._ready[lane_of(unit)], entry)

    def _ranks(self) -> dict[str, int]:
        """Number of generations that wait for a unit, then of its direct children."""
        depth: dict[str, int] = {}
        for unit_id in reversed(list(self._units)):
            children = self._children.get(unit_id, ())
            depth[unit_id] = max((depth[child] + 1 for child in children), default=0)
        return {
            unit_id: depth[unit_id] * 1_000_000 + len(self._children.get(unit_id, ()))
            for unit_id in self._units
        }


def lane_of(unit: Unit) -> Lane:
    """Where a unit runs: trained searches in gangs, everything else in the fleet."""
    return "gang" if unit.trains_in_gang else "fleet"
