"""Classes of failures, the retries of a unit, and the health of nodes: pure decisions."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

NODE_LOSSES = 30
"""Losses of nodes that one unit survives: a week of spot machines, but not for ever."""
_LONGEST_PAUSE = 60.0
_UNITS = 3
"""Different units that have to fail on a node; a unit that crashes on every node counts as one."""
_FIRST, _LONGEST = 30.0, 600.0
_RECENT = 3600.0
"""Seconds for which a record speaks for the node that it came from."""


class Fault(Enum):
    """A class of failures; the value is the reason for people."""

    ERROR = "an error of its own"
    """Deterministic, divergence included: the same unit would meet it again."""
    MEMORY = "out of memory"
    PLACE = "its machine did not give what it needs"
    """A source, the store, a disk or a GPU that did not answer there and then."""
    DIED = "its worker died"
    HUNG = "no progress"
    NODE = "its node was lost or is about to be"
    SHUNNED = "its machine fails all it gets"
    """Died, hung or lacked something, like other units there, while other machines do well."""
    STOP = "stopped with the run"


class LeavingError(RuntimeError):
    """A worker gives a unit back unfinished; what could be saved is saved."""

    def __init__(self, fault: Fault) -> None:
        """`fault`: NODE or STOP."""
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return self.fault.value


@dataclass(frozen=True)
class Retry:
    """Try again `after` so many seconds; `wider`: with a larger share of a machine."""

    after: float
    wider: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Set the unit aside."""

    reason: str


@dataclass(frozen=True)
class AttemptHistory:
    """History of a unit in this run."""

    counts: Mapping[Fault, int] = field(default_factory=dict)
    furthest: int = 0
    """The last step that any attempt reached."""
    stuck: int = 0
    """Attempts lost to places or workers in a row that got no further than one before them."""

    @property
    def attempts(self) -> int:
        """Number of attempts."""
        return sum(self.counts.values())

    def with_fault(self, fault: Fault, step: int) -> "AttemptHistory":
        """Return the past once an attempt ended at `step`."""
        counts = {**self.counts, fault: self.counts.get(fault, 0) + 1}
        stuck = self.stuck
        if fault in {Fault.PLACE, Fault.DIED, Fault.HUNG}:
            stuck = stuck + 1 if step <= self.furthest else 1
        return replace(self, counts=counts, furthest=max(step, self.furthest), stuck=stuck)


def after_fault(past: AttemptHistory, fault: Fault, retries: int) -> Retry | GiveUp:
    """Decide about a unit after `fault`, which `past` counts already.

    Each class has a budget of its own. Errors: none. Memory: one, in a larger share. A place that
    did not give what it needs, a worker that died or hung: `retries`, counted anew whenever an
    attempt gets further than those before. Nodes, lost or bad, are not the unit's fault:
    `NODE_LOSSES`. The end of the run counts for no unit.
    """
    count = past.counts[fault]
    match fault:
        case Fault.ERROR:
            return GiveUp("the same error would come again")
        case Fault.MEMORY:
            if count == 1:
                return Retry(1.0, wider=True)
            return GiveUp("out of memory again")
        case Fault.PLACE | Fault.DIED | Fault.HUNG:
            if past.stuck <= retries:
                return Retry(min(_LONGEST_PAUSE, 2.0 ** min(past.stuck - 1, 10)))
            times = "once" if past.stuck == 1 else f"{past.stuck} times"
            return GiveUp(f"{fault.value} {times} without getting further")
        case Fault.NODE | Fault.SHUNNED:
            if count <= NODE_LOSSES:
                return Retry(1.0)
            return GiveUp(f"{fault.value} {count} times")
        case Fault.STOP:
            return Retry(0.0)


class NodeHealth:
    """Units that failed on each node since its last record, where other nodes do well."""

    def __init__(self) -> None:
        self._failed: dict[str, set[str]] = {}
        self._landed: dict[str, float] = {}

    def landed(self, nodes: Collection[str]) -> None:
        """Note that a record came from these nodes."""
        for node in nodes:
            self._landed[node] = time.monotonic()
            self._failed.pop(node, None)

    def charge(self, nodes: Collection[str], unit: str, fault: Fault) -> Fault:
        """Return the fault that is charged for an attempt at `unit` on these nodes: on an unhealthy
        node, the node's."""
        if fault not in {Fault.PLACE, Fault.DIED, Fault.HUNG}:
            return fault
        for node in nodes:
            self._failed.setdefault(node, set()).add(unit)
        return Fault.SHUNNED if any(map(self._excess, nodes)) else fault

    def pause(self, node: str) -> float:
        """Return the seconds that a worker there has to wait before it begins a unit."""
        excess = self._excess(node)
        return min(_FIRST * 2 ** (excess - 1), _LONGEST) if excess else 0.0

    def _excess(self, node: str) -> int:
        """Units failed in a row from the third one on; 0 where no other node has done well lately:
        then it may as well be the units."""
        since = time.monotonic() - _RECENT
        others = any(at > since for other, at in self._landed.items() if other != node)
        return max(0, len(self._failed.get(node, ())) - _UNITS + 1) if others else 0
