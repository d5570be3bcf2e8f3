"""Which nodes are worth another unit. One that fails each within a second would else take more of
them than all others together, and use up the attempts of a whole sweep."""

from collections.abc import Collection

from tamt_ray.execution.faults import Fault

_IN_A_ROW = 3
_FIRST, _LONGEST = 30.0, 600.0


class Trust:
    """How many attempts in a row went wrong on each node, where others do well."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}

    def landed(self, nodes: Collection[str]) -> None:
        """A record came from these."""
        self._in_a_row.update(dict.fromkeys(nodes, 0))

    def met(self, nodes: Collection[str], fault: Fault) -> Fault:
        """What an attempt that ended in `fault` on these is charged as: on a node that is not
        trusted, as the node's fault."""
        if fault not in {Fault.PLACE, Fault.DIED, Fault.HUNG}:
            return fault
        for node in nodes:
            self._in_a_row[node] = self._in_a_row.get(node, 0) + 1
        return Fault.NODE if any(map(self._excess, nodes)) else fault

    def pause(self, node: str) -> float:
        """Seconds that a worker there has to wait before it begins a unit."""
        excess = self._excess(node)
        return min(_FIRST * 2 ** (excess - 1), _LONGEST) if excess else 0.0

    def _excess(self, node: str) -> int:
        """Attempts in a row from the third one on; 0 where no other node does well: then it may
        as well be the units."""
        others = any(not bad for other, bad in self._in_a_row.items() if other != node)
        return max(0, self._in_a_row.get(node, 0) - _IN_A_ROW + 1) if others else 0
