"""A sweep on a cluster that is only imagined: real board, real placement, invented durations.

Units take what the cost model says times an error that the board does not know. Everything that
decides is the code of `tamt_ray.execution`; what is imagined is the time that passes, the GPUs, and
nodes that are taken away and come back.
"""

import heapq
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tamt_ray.execution.gang.gangs import Gangs
from tamt_ray.execution.scheduler.board import Board, Demand
from tamt_ray.execution.scheduler.placement import GangSize, Node, fleet_slots, gang_size
from tamt_ray.plan.cost import ROUGH
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.execution import Execution

NODE: Node = {"CPU": 64.0, "GPU": 8.0}


@dataclass(frozen=True)
class World:
    """What is assumed. Times in seconds."""

    nodes: int
    """Machines with eight GPUs each."""
    error: float = 0.2
    """Standard deviation of the logarithm of real over estimated time."""
    team: float = 0.9
    """Share of its speed that each worker keeps when a gang gets twice as wide."""
    gang_start: float = 20.0
    gang_wait: float = 20.0
    """How long an idle gang keeps its places."""
    trial: float = 0.06
    """Added to every unit of the fleet."""
    loss_every: float = math.inf
    """Mean life of a node; one that is lost is back after `away`."""
    away: float = 600.0
    state_every: float = 300.0
    """Training that a lost gang has to repeat at most; a lost fine-tune begins anew."""
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """Seconds to the end, the shortest conceivable time, and what was lost on the way."""

    makespan: float
    bound: float
    """max(work ÷ GPUs that were there, critical path with every gang at its widest)."""
    losses: int
    gangs: int
    """Started in all."""


@dataclass
class _Gang:
    name: str
    workers: int
    gpus: list[int] = field(default_factory=list)
    unit: Unit | None = None
    begun: float = 0.0
    life: int = 0
    """Grows with every loss, so that what was to happen to an earlier life does not."""


@dataclass
class _Trial:
    unit: Unit
    gpu: int


class Simulation:
    """One run of a plan."""

    def __init__(self, plan: Plan, execution: Execution, world: World) -> None:
        self._plan, self._world = plan, world
        self._draw = random.Random(world.seed)
        self._durations = {
            unit.id: ROUGH.seconds(unit) * math.exp(self._draw.gauss(0.0, world.error))
            for unit in plan.units.values()
        }
        self._left = dict(self._durations)
        self._widest = execution.search.workers
        self._nodes = dict.fromkeys(range(world.nodes), True)
        nodes = self._resources()
        self._slots = fleet_slots(execution, nodes, 1.0)
        size = gang_size(execution, nodes)
        self._gangs = Gangs("sim", execution.search, size, self._slots, self._ask)
        self._board = Board(plan)
        self._free = list(range(8 * world.nodes))
        self._asked: dict[str, _Gang] = {}
        self._trials: dict[int, _Trial] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = self._losses = self._begun = 0
        self._now = self._served = 0.0

    def run(self) -> Outcome:
        """Until every unit is done."""
        if self._world.loss_every < math.inf:
            for node in self._nodes:
                self._later(self._life(), lambda node=node: self._lose(node))
        self._place()
        while not self._board.finished():
            at, _, happen = heapq.heappop(self._events)
            self._served += (at - self._now) * sum(self._nodes.values()) * 8
            self._now = at
            happen()
            self._place()
        work = sum(self._durations.values())
        bound = max(work * self._now / self._served, self._critical_path())
        return Outcome(self._now, bound, self._losses, self._begun)

    def _critical_path(self) -> float:
        paths: dict[str, float] = {}
        for unit in self._plan.units.values():
            seconds = self._durations[unit.id]
            if unit.lane == "gang":
                seconds /= self._widest
            paths[unit.id] = seconds + max((paths[need] for need in unit.needs), default=0.0)
        return max(paths.values())

    def _place(self) -> None:
        """What driver, gangs and fleet do when something has changed."""
        at_work = sum(gang.unit is not None for gang in self._asked.values())
        demand = Demand(self._board.ready("gang"), at_work, self._board.left)
        self._gangs.adjust(demand, self._resources())
        for gang in self._asked.values():
            if not gang.gpus and len(self._free) >= gang.workers:
                gang.gpus = [self._free.pop() for _ in range(gang.workers)]
                self._later(self._world.gang_start, lambda g=gang, n=gang.life: self._next(g, n))
        while self._free and len(self._trials) < self._slots.free():
            unit = self._board.take("fleet")
            if unit is None:
                return
            trial = _Trial(unit, self._free.pop())
            self._trials[trial.gpu] = trial
            seconds = self._durations[unit.id] + self._world.trial
            self._later(seconds, lambda trial=trial: self._tuned(trial))

    def _ask(self, name: str, size: GangSize) -> None:
        self._asked[name] = _Gang(name, size.workers)
        self._begun += 1

    def _next(self, gang: _Gang, life: int, asked: float | None = None) -> None:
        """A gang asks the board for a search, or goes when it has waited long enough."""
        if gang.life != life or gang.name not in self._asked:
            return
        asked = self._now if asked is None else asked
        gang.unit = self._board.take("gang")
        if gang.unit:
            gang.begun = self._now
            seconds = self._left[gang.unit.id] / self._speed(gang)
            self._later(seconds, lambda: self._searched(gang, life))
            return
        others = any(each.unit for each in self._asked.values())
        over = self._board.finished("gang")
        if over or (others and self._now - asked >= self._world.gang_wait):
            del self._asked[gang.name]
            self._free.extend(gang.gpus)
            self._gangs.ended(gang.name)
        else:
            self._later(1.0, lambda: self._next(gang, life, asked))

    def _speed(self, gang: _Gang) -> float:
        return gang.workers * self._world.team ** math.log2(gang.workers)

    def _searched(self, gang: _Gang, life: int) -> None:
        if gang.life == life and gang.unit:
            self._board.finish(gang.unit.id)
            gang.unit = None
            self._next(gang, life)

    def _tuned(self, trial: _Trial) -> None:
        if self._trials.get(trial.gpu) is trial:
            del self._trials[trial.gpu]
            self._free.append(trial.gpu)
            self._board.finish(trial.unit.id)

    def _lose(self, node: int) -> None:
        self._losses += 1
        self._nodes[node] = False
        lost = set(range(8 * node, 8 * node + 8))
        self._free = [gpu for gpu in self._free if gpu not in lost]
        for gpu in lost & self._trials.keys():
            self._board.release(self._trials.pop(gpu).unit.id)
        for gang in self._asked.values():
            if lost & set(gang.gpus):
                self._free.extend(gpu for gpu in gang.gpus if gpu not in lost)
                gang.gpus, gang.life = [], gang.life + 1
                if gang.unit:
                    kept = (self._now - gang.begun) // self._world.state_every
                    self._left[gang.unit.id] -= kept * self._world.state_every * self._speed(gang)
                    self._board.release(gang.unit.id)
                    gang.unit = None
        self._slots.resize(self._resources())
        self._later(self._world.away, lambda: self._bring_back(node))

    def _bring_back(self, node: int) -> None:
        self._nodes[node] = True
        self._free.extend(range(8 * node, 8 * node + 8))
        self._slots.resize(self._resources())
        self._later(self._life(), lambda: self._lose(node))

    def _life(self) -> float:
        return self._draw.expovariate(1 / self._world.loss_every)

    def _resources(self) -> list[Mapping[str, float]]:
        return [NODE for there in self._nodes.values() if there]

    def _later(self, seconds: float, happen: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self._now + seconds, self._count, happen))
