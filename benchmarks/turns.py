"""Training loops timed side by side, step by step.

What else a machine does changes within a second, and a loop takes many. So the loops take turns: a
step of the first, a step of the second, the next of the first. What is compared is the median of
each step over the rounds, and an epoch is made up of those.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, median

from greenlet import getcurrent, greenlet

Turn = Callable[[], None]
"""Called by a loop before each of its steps and behind the last: it returns when the others have
had their turns."""


@dataclass(frozen=True)
class Loop:
    """Seconds of processor time, medians of the rounds."""

    around: float
    """Before the first step and behind the last."""
    steps: list[float]
    """Each step."""

    def epoch(self, steps: int) -> float:
        """Seconds of an epoch of so many steps like these."""
        return self.around + steps * fmean(self.steps)


def in_turns(loops: Mapping[str, Callable[[Turn], object]], rounds: int) -> dict[str, Loop]:
    """Run every loop so many times, all on the calling thread, and compute on that thread only."""
    found: dict[str, list[list[float]]] = {name: [] for name in loops}
    for _ in range(rounds):
        gc.collect()
        pending = {name: greenlet(loop) for name, loop in loops.items()}
        parts: dict[str, list[float]] = {name: [] for name in loops}
        turn = getcurrent().switch
        while pending:
            for name, loop in list(pending.items()):
                begin = time.process_time()
                loop.switch(*() if parts[name] else (turn,))
                parts[name].append(time.process_time() - begin)
                if loop.dead:
                    del pending[name]
        for name in loops:
            found[name].append(parts[name])
    return {name: _medians(times) for name, times in found.items()}


def _medians(rounds: list[list[float]]) -> Loop:
    first, *steps, last = (median(times) for times in zip(*rounds, strict=True))
    return Loop(first + last, steps)
