"""How long the board takes over a million units, from waiting to done."""

import time
from collections.abc import Iterator

from benchmarks.answer import Answer, at_most
from benchmarks.grid import million
from tamt_ray.execution.scheduler.board import Board, Lane
from tamt_ray.plan.expand import expand

LANES: tuple[Lane, Lane] = ("gang", "fleet")


def run() -> Iterator[Answer]:
    """Seconds to set the board up and to take and finish every unit; every thousandth is lost once
    and released."""
    plan = expand(million())
    begin = time.perf_counter()
    board = Board(plan)
    ready = time.perf_counter()
    taken = 0
    while not board.finished():
        for lane in LANES:
            while unit := board.take(lane):
                taken += 1
                if taken % 1000 == 0 and board.attempts(unit.id) == 1:
                    board.release(unit.id)
                else:
                    board.finish(unit.id)
    done = time.perf_counter()
    yield at_most(
        f"board: {len(plan.units):,} units through all states", done - begin, 60, "s",
        f"{ready - begin:.1f} s to set it up, {(done - ready) / taken * 1e6:.1f} µs a unit",
    )  # fmt: skip
