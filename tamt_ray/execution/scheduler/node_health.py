"""Which nodes are worth another unit. One that fails each within a second would else take more of
them than all others together, and use up the attempts of a whole sweep."""

import time
from collections.abc import Collection

from tamt_ray.execution.scheduler.faults import Fault

_UNITS = 3
"""So many different ones a node has to fail: a unit that crashes wherever it runs is but one."""
_FIRST, _LONGEST = 30.0, 600.0
_RECENT = 3600.0
"""Seconds for which a record speaks for the node that it came from."""


class NodeHealth:
    """Which units failed on each node since its last record, where other nodes do well."""

    def __init__(self) -> None:
        self._failed: dict[str, set[str]] = {}
        self._landed: dict[str, float] = {}

    def landed(self, nodes: Collection[str]) -> None:
        """A record came from these."""
        for node in nodes:
            self._landed[node] = time.monotonic()
            self._failed.pop(node, None)

    def met(self, nodes: Collection[str], unit: str, fault: Fault) -> Fault:
        """What an attempt at `unit` that ended in `fault` on these nodes is charged as: on one that
        is not trusted, as the node's fault."""
        if fault not in {Fault.PLACE, Fault.DIED, Fault.HUNG}:
            return fault
        for node in nodes:
            self._failed.setdefault(node, set()).add(unit)
        return Fault.SHUNNED if any(map(self._excess, nodes)) else fault

    def pause(self, node: str) -> float:
        """Seconds that a worker there has to wait before it begins a unit."""
        excess = self._excess(node)
        return min(_FIRST * 2 ** (excess - 1), _LONGEST) if excess else 0.0

    def _excess(self, node: str) -> int:
        """Units failed in a row from the third one on; 0 where no other node has done well lately:
        then it may as well be the units."""
        since = time.monotonic() - _RECENT
        others = any(at > since for other, at in self._landed.items() if other != node)
        return max(0, len(self._failed.get(node, ())) - _UNITS + 1) if others else 0
