"""Training loops timed side by side, step by step.

What else a machine does changes within a second, and a loop takes many. So the loops take turns: a
step of the first, a step of the second, the next of the first. What is compared is the median of
each step over the rounds, and an epoch is made up of those. Every loop has a process of its own,
since what one leaves in memory would change the other's time.
"""

import gc
import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import fmean, median
from typing import cast

Turn = Callable[[], None]
"""Called by a loop before each of its steps and behind the last: it returns when the others have
had their turns."""
Run = Callable[[Turn], object]


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


def in_turns(loops: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, Loop]:
    """Run every loop so many times, each made in its process by a picklable function.

    They compute on one thread. Raises RuntimeError where one breaks down.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [getattr(make, "func", make).__module__ for make in loops.values()]
    )
    found: dict[str, list[list[float]]] = {name: [] for name in loops}
    with ExitStack() as stack:
        lines: dict[str, Connection] = {}
        for name, make in loops.items():
            # The types know the pipes of Windows too.
            lines[name], theirs = cast("tuple[Connection, Connection]", context.Pipe())
            stack.enter_context(lines[name])
            context.Process(target=_run, args=(theirs, make, rounds), daemon=True).start()
            theirs.close()
            _heard(name, lines[name])
        for _ in range(rounds):
            pending = dict(lines)
            for times in found.values():
                times.append([])
            while pending:
                for name, line in list(pending.items()):
                    line.send(None)
                    seconds, goes_on = _heard(name, line)
                    found[name][-1].append(seconds)
                    if not goes_on:
                        del pending[name]
    return {name: _medians(times) for name, times in found.items()}


def _run(line: Connection, make: Callable[[], Run], rounds: int) -> None:
    """In the loop's process: compute when told to, and tell the seconds and whether it goes on."""
    run = make()
    line.send((0.0, True))
    begin = 0.0

    def turn() -> None:
        nonlocal begin
        line.send((time.process_time() - begin, True))
        line.recv()
        begin = time.process_time()

    with suppress(EOFError):  # where another loop broke down
        for _ in range(rounds):
            gc.collect()
            line.recv()
            begin = time.process_time()
            run(turn)
            line.send((time.process_time() - begin, False))


def _heard(name: str, line: Connection) -> tuple[float, bool]:
    try:
        return line.recv()
    except EOFError as error:
        raise RuntimeError(f"{name} broke down") from error


def _medians(rounds: list[list[float]]) -> Loop:
    first, *steps, last = (median(times) for times in zip(*rounds, strict=True))
    return Loop(first + last, steps)
