"""Timing contestants side by side, on a machine that others use too."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.device import CPU, Device


@dataclass(frozen=True)
class Times:
    """Seconds per call of every round, by contestant.

    `own` is the device's clock: the processor time of this process on a CPU, where all contestants
    run on one thread; the wall, synchronised, on a GPU.
    """

    wall: Mapping[str, list[float]]
    own: Mapping[str, list[float]]
    extra: Mapping[str, int]
    """Bytes that a call takes of a GPU's memory beside what is held between calls."""

    def median(self, name: str) -> float:
        """Seconds on the wall."""
        return median(self.wall[name])

    def spent(self, name: str) -> float:
        """Seconds by the device's clock."""
        return median(self.own[name])

    def ratio(self, name: str, base: str) -> float:
        """Time of `name` over time of `base`, by the device's clock."""
        return self.spent(name) / self.spent(base)

    def __str__(self) -> str:
        """The medians."""
        said = [
            f"{name} {self.spent(name):.4g} s (wall {self.median(name):.4g} s"
            + (f", +{extra / 2**30:.2f} GiB)" if (extra := self.extra[name]) else ")")
            for name in self.wall
        ]
        return ", ".join(said)


def interleave(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_ups: int = 1,
    before: Callable[[], object] = lambda: None,
    device: Device = CPU,
) -> Times:
    """Every contestant once, then every one again, so that what disturbs one disturbs all.

    `before` is called before each round. The first `warm_ups` rounds are not counted. On a GPU
    once means a few calls, between which nothing waits.
    """
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    own: dict[str, list[float]] = {name: [] for name in contestants}
    extra: dict[str, int] = dict.fromkeys(contestants, 0)
    for number in range(warm_ups + rounds):
        before()
        for name, work in contestants.items():
            gc.collect()
            begin = device.clock(), time.perf_counter()
            device.peak()
            held = device.allocated()
            for _ in range(device.calls):
                work()
            end = device.clock(), time.perf_counter()
            if number >= warm_ups:
                own[name].append((end[0] - begin[0]) / device.calls)
                wall[name].append((end[1] - begin[1]) / device.calls)
                extra[name] = max(extra[name], device.peak() - held)
    return Times(wall, own, extra)
