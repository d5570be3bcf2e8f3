"""A board that stands still, as one that swaps or hangs does."""

import os
import signal
from typing import Any

import pytest

from benchmarks.chaos import processes
from tamt_ray.plan.expand import expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
StartDriver = Any
"""The fixture's own class, of `conftest`."""


def test_a_board_that_does_not_answer_is_killed_and_stands_again(
    toy: Toy, start_driver: StartDriver
) -> None:
    """Stopped between two units; the driver waits for a minute and the sweep goes on."""
    toy["methods"] = ["omp", {"method": "tamt_mlm", "steps": 6}]
    toy["execution"] = {"patience": 15}
    driver = start_driver(toy)
    driver.wait_for(lambda: "done   " in driver.said)
    (board,) = [p for p in processes(driver.process.pid) if p.kind == "board"]
    os.kill(board.pid, signal.SIGSTOP)
    assert driver.end(250) == 0, driver.said
    assert "the board actor was lost and stands again" in driver.said
    plan = expand(Sweep.model_validate(toy))
    assert Store(str(toy["store"])).done(plan.units).keys() == plan.units.keys()
    driver.gone([board])
