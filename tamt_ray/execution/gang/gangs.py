"""Search gangs: started as searches get ready; they end by themselves."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tamt_ray.execution.scheduler.board import Demand
from tamt_ray.execution.scheduler.placement import (
    GangSize,
    Node,
    Slots,
    room_for,
    slots_of_gang,
    width,
)
from tamt_ray.spec.execution import SearchLane

Start = Callable[[str, GangSize], None]
"""Starts a gang, by its name; its end is reported to `Gangs.ended`."""


class Gangs:
    """The gangs of one run."""

    def __init__(
        self, name: str, lane: SearchLane, size: GangSize, slots: Slots, start: Start
    ) -> None:
        """`size` is that of the widest gang."""
        self._name = name
        self._lane = lane
        self._size = size
        self._slots = slots
        self._start = start
        self._alive: dict[str, int] = {}
        """Workers by gang."""
        self._begun = 0
        self._places = 0
        self._at_work, self._since = 0, time.monotonic()

    def adjust(self, demand: Demand, nodes: Sequence[Node]) -> None:
        """Start what is wanted.

        The fleet's places are promised to a gang at once; it gets them as fine-tunes end.
        """
        workers = dict(self._alive)
        self._places = places = room_for(self._size, nodes)
        self._hasten(demand)
        room = places - sum(workers.values())
        # Gangs without a search are about to take one each.
        waiting = demand.paths[max(0, len(workers) - demand.at_work) :]
        for number, path in enumerate(waiting):
            # The path is part of what is left; so are results that took no time at all.
            haste = path * places / max(demand.left, path, 1e-9)
            others = len(waiting) - number - 1
            wide = width(self._lane, haste, others, len(workers), room)
            if not wide:
                return
            gang = f"{self._name}-gang-{self._begun}"
            self._begun += 1
            size = replace(self._size, workers=wide)
            workers[gang] = self._alive[gang] = wide
            room -= wide
            self._slots.promise(gang, slots_of_gang(size, self._slots))
            self._start(gang, size)

    def fit(self) -> bool:
        """Return whether the cluster has room for all gangs, fine-tunes left aside."""
        return sum(self._alive.values()) <= self._places

    def _hasten(self, demand: Demand) -> None:
        """Reserve more for each minute that a gang waits: fine-tunes give back shares of many GPUs,
        and a gang needs whole ones."""
        waiting = len(self._alive) > demand.at_work and bool(demand.paths)
        if not waiting or demand.at_work > self._at_work:
            self._since = time.monotonic()
        self._at_work = demand.at_work
        minutes = min(10, int((time.monotonic() - self._since) / 60))
        more = slots_of_gang(self._size, self._slots) * (2**minutes - 1)
        self._slots.promise("more", more if waiting and self.fit() else 0)

    def ended(self, gang: str) -> None:
        """Give the places of a gang that is gone back to the fleet."""
        self._alive.pop(gang, None)
        self._slots.give_back(gang)
