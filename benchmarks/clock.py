"""Timing contestants side by side, on a machine that others use too."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Times:
    """Seconds of every round, by contestant: on the wall, and of this process's processor time.

    Where all contestants run on one thread, processor time says on a busy machine what the wall
    says on an idle one.
    """

    wall: Mapping[str, list[float]]
    cpu: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Seconds on the wall."""
        return median(self.wall[name])

    def ratio(self, name: str, base: str) -> float:
        """Median of `name` over median of `base`, on the wall."""
        return self.median(name) / self.median(base)

    def cpu_median(self, name: str) -> float:
        """Seconds of processor time."""
        return median(self.cpu[name])

    def cpu_ratio(self, name: str, base: str) -> float:
        """Median of `name` over median of `base`, in processor time."""
        return self.cpu_median(name) / self.cpu_median(base)

    def __str__(self) -> str:
        """The medians."""
        told = [
            f"{name} {self.cpu_median(name):.4g} s (wall {self.median(name):.4g} s)"
            for name in self.wall
        ]
        return "processor time " + ", ".join(told)


def interleave(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_ups: int = 1,
    before: Callable[[], object] = lambda: None,
) -> Times:
    """Every contestant once, then every one again, so that what disturbs one disturbs all.

    `before` is called before each round. The first `warm_ups` rounds are not counted.
    """
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warm_ups + rounds):
        before()
        for name, work in contestants.items():
            gc.collect()
            begin = time.perf_counter(), time.process_time()
            work()
            end = time.perf_counter(), time.process_time()
            if number >= warm_ups:
                wall[name].append(end[0] - begin[0])
                cpu[name].append(end[1] - begin[1])
    return Times(wall, cpu)
