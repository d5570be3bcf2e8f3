"""Which search gangs there are: started as searches get ready; they end by themselves."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tamt_ray.execution.board import Demand
from tamt_ray.execution.placement import GangSize, Node, Slots, room_for, slots_of_gang, width
from tamt_ray.spec.execution import SearchLane

Start = Callable[[str, GangSize], None]
"""Begins a gang, by its name; `Gangs.ended` is told of its end."""


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

    def look(self, demand: Demand, nodes: Sequence[Node]) -> None:
        """Start what is wanted.

        The fleet's places are promised to a gang at once; it gets them as fine-tunes end.
        """
        workers = dict(self._alive)
        places = room_for(self._size, nodes)
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

    def ended(self, gang: str) -> None:
        """A gang is gone; its places are the fleet's again."""
        self._alive.pop(gang, None)
        self._slots.give_back(gang)
