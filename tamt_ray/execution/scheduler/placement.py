"""Placement: slots of the fleet, gangs, and requests that no node can satisfy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tamt_ray.spec.execution import Execution, SearchLane

Node = Mapping[str, float]
"""Resources of one node: CPU, GPU."""


@dataclass(frozen=True)
class GangSize:
    """Resources of one gang; `cpus` and `gpus` a worker."""

    workers: int
    cpus: float
    gpus: float


class InfeasibleError(RuntimeError):
    """No node of the cluster can ever satisfy the request."""


@dataclass(frozen=True)
class Share:
    """Resources of a fine-tune, and the slots of the fleet that it takes."""

    cpus: float
    gpus: float
    slots: int


@dataclass
class Slots:
    """Places of the fleet; `promised` ones are kept free for gangs that are alive."""

    total: int
    cpus: float
    gpus: float
    promised: dict[str, int] = field(default_factory=dict)
    most_cpus: float = math.inf
    """CPUs of the largest node."""

    @property
    def share(self) -> Share:
        """Resources of a fine-tune."""
        return Share(self.cpus, self.gpus, 1)

    @property
    def wider(self) -> Share:
        """Share of a fine-tune that ran out of memory: half a GPU, or all of it; without GPUs twice
        the CPUs, so that it has fewer neighbours. One more attempt is left, so it must do."""
        cpus, gpus = self.cpus, self.gpus
        if not gpus:
            cpus = min(2 * cpus, max(cpus, self.most_cpus))
        elif gpus < 1:
            gpus = 0.5 if round(1 / gpus) > 2 else 1.0
        taken = max(cpus / self.cpus, gpus / self.gpus if self.gpus else 0.0)
        return Share(cpus, gpus, math.ceil(taken - 1e-9))

    def resize(self, nodes: Sequence[Node]) -> None:
        """Count the places anew: nodes have come or gone."""
        self.total = sum(_places(node, self.cpus, self.gpus) for node in nodes)
        self.most_cpus = max((node.get("CPU", 0) for node in nodes), default=0)

    def free(self) -> int:
        """Return the number of fine-tunes that may run now."""
        return max(0, self.total - sum(list(self.promised.values())))

    def promise(self, gang: str, slots: int) -> None:
        """Keep room for a gang."""
        self.promised[gang] = slots

    def give_back(self, gang: str) -> None:
        """Note that a gang has ended."""
        self.promised.pop(gang, None)


def gang_size(execution: Execution, nodes: Sequence[Node]) -> GangSize:
    """Resources of the widest gang; `gpus: auto` is a whole GPU a worker where there are any.

    Raises InfeasibleError where no node can hold one worker, or the cluster all of them; with
    `gangs: auto` a narrower gang will do.
    """
    lane = execution.search
    gpus = (
        float(any(node.get("GPU", 0) > 0 for node in nodes)) if lane.gpus == "auto" else lane.gpus
    )
    size = GangSize(lane.workers, lane.cpus, gpus)
    places = room_for(size, nodes)
    needed = 1 if lane.gangs == "auto" else lane.workers
    if places < needed:
        raise InfeasibleError(
            f"a search gang needs {needed} workers of {lane.cpus:g} CPUs and {gpus:g} GPUs, "
            f"but the cluster has room for {places}: {describe(nodes)}; lower "
            "`execution.search.workers`, `cpus` or `gpus`, or start larger nodes"
        )
    return size


def room_for(size: GangSize, nodes: Sequence[Node]) -> int:
    """Return the number of search workers that fit on these nodes."""
    return sum(_places(node, size.cpus, size.gpus) for node in nodes)


def width(lane: SearchLane, haste: float, others: int, gangs: int, room: int) -> int:
    """Workers of a gang for the next search; 0 where none may be started.

    `haste` is the time from the search's beginning to the end of all that waits for it, over the
    time the whole cluster needs for what is left. `others` more searches wait, `gangs` are there,
    `room` more workers would fit.

    With `gangs: auto` a search gets one worker, since those of one gang wait for each other, and
    more, up to `workers`, where it would outlast the rest: the last ones of a sweep, or a few long
    ones on a large cluster. The others are left a worker each. Only widths that divide `workers`
    are used, so that no worker of a gang has less to do than its companions.
    """
    if lane.gangs != "auto":
        return lane.workers if gangs < lane.gangs and room >= lane.workers else 0
    widths = [n for n in range(1, lane.workers + 1) if lane.workers % n == 0]
    fitting = [n for n in widths if n <= min(room, max(1, room - others))]
    enough = (n for n in fitting if n >= _AHEAD * haste)
    return next(enough, fitting[-1] if fitting else 0)


_AHEAD = 2.0
"""Factor by which a search and its dependants have to end sooner than the rest: fine-tunes that
wait for it do not get faster with it."""


def fleet_slots(execution: Execution, nodes: Sequence[Node], gpus: float) -> Slots:
    """Return the fleet's places on these nodes. Raises InfeasibleError where there is none."""
    cpus = execution.finetune.cpus
    slots = Slots(0, cpus, gpus)
    slots.resize(nodes)
    if slots.total == 0:
        raise InfeasibleError(
            f"a fine-tune needs {cpus:g} CPUs and {gpus:g} GPUs, but no node has them: "
            f"{describe(nodes)}; lower `execution.finetune.cpus` or `gpus`, or start larger nodes"
        )
    return slots


def slots_of_gang(size: GangSize, slots: Slots) -> int:
    """Return the number of the fleet's places that a gang takes."""
    by_cpu = size.cpus / slots.cpus
    by_gpu = size.gpus / slots.gpus if slots.gpus else 0.0
    return math.ceil(size.workers * max(by_cpu, by_gpu) - 1e-9)


def largest_share(peak_bytes: int, device_bytes: int, outside: int = 0) -> float:
    """Return the share 1/k of a GPU that holds `peak_bytes`, a quarter more, and the bytes that a
    process takes `outside` its allocator; at most a whole GPU."""
    k = math.floor(device_bytes / (peak_bytes * 1.25 + outside))
    return 1.0 / k if k >= 1 else 1.0


def describe(nodes: Sequence[Node]) -> str:
    """Return one line for people."""
    if not nodes:
        return "no node is alive"
    return "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)


def _places(node: Node, cpus: float, gpus: float) -> int:
    by_cpu = math.floor(node.get("CPU", 0) / cpus + 1e-9)
    if not gpus:
        return by_cpu
    devices = node.get("GPU", 0)
    by_gpu = devices / gpus if gpus >= 1 else math.floor(devices) * round(1 / gpus)
    return min(by_cpu, math.floor(by_gpu + 1e-9))
