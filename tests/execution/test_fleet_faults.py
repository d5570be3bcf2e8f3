"""Fine-tune workers that die, hang, run out of memory or never finish: one run with all of it."""

import os
import signal
from typing import Any

import pytest

from benchmarks.chaos import Process, processes
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.logs import read_logs
from tamt_ray.store.store import Store

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
Faults = Driver = StartDriver = Any
"""The fixtures' own classes, of `conftest`."""


def test_one_bad_unit_never_stops_the_others(
    toy: Toy, faults: Faults, start_driver: StartDriver
) -> None:
    """Eight fine-tunes of the dense model, each with a fault of its own, on two CPUs; meanwhile the
    board and the aggregator are killed. The good ones are done in the end; the bad ones are listed
    with reasons, after just as many attempts as their class of failure has."""
    toy["finetune_seeds"] = list(range(8))
    toy["execution"] = {"retries": 1, "patience": 15}
    killed = faults.inject("kill", seed=1)
    hung = faults.inject("sleep", seed=2)
    crashing = faults.inject("crash", times=9, seed=3)
    narrow = faults.inject("memory", seed=4)
    greedy = faults.inject("memory", times=9, seed=5)
    diverging = faults.inject("diverge", times=9, seed=6)
    stopped = faults.inject("stop", seed=7)

    driver = start_driver(toy, "--only", "finetune/*/full/*", **faults.environment)
    # The crashes of its only process are what the fleet has to live through first.
    driver.wait_for(lambda: faults.struck(killed))
    slay(driver, "board")
    driver.wait_for(lambda: "the board actor was lost and stands again" in driver.said)
    slay(driver, "aggregator")
    assert driver.end() == 1, driver.said

    sweep = Sweep.model_validate(toy)
    plan, store = expand(sweep), Store(sweep.store)
    tunes: dict[int | None, Unit] = {
        unit.cell.seed: unit
        for unit in plan.units.values()
        if unit.kind == "finetune" and unit.cell.method == "full"
    }
    done = store.done({unit.id: unit for unit in tunes.values()})
    assert {seed for seed, unit in tunes.items() if unit.id in done} == {0, 1, 2, 4, 7}
    failures = store.failures(plan.units)
    by_seed = {seed: failures[unit.id] for seed, unit in tunes.items() if unit.id in failures}
    assert {seed: failure.error for seed, failure in by_seed.items()} == {
        3: "WorkerDied", 5: "OutOfMemoryError", 6: "NonFiniteLossError",
    }  # fmt: skip
    assert "its worker died 2 times without getting further" in by_seed[3].message
    assert "(out of memory again)" in by_seed[5].message

    # Attempts, by the marks they left; a board that was killed forgets what it counted.
    assert (
        len(faults.struck(killed)) == len(faults.struck(hung)) == len(faults.struck(stopped)) == 1
    )
    assert 2 <= len(faults.struck(crashing)) <= 3
    assert 2 <= len(faults.struck(greedy)) <= 3
    assert len(faults.struck(diverging)) == 1
    assert [mark["has"]["CPU"] for mark in faults.struck(greedy)][-2:] == [1, 2]
    assert [mark["has"]["CPU"] for mark in faults.struck(narrow)] == [1]

    # Nobody is left behind, not even the process that was stopped.
    driver.gone([Process(faults.struck(name)[0]["pid"], None) for name in (hung, stopped)])

    assert "(raylet)" not in driver.said
    assert "ERROR" not in driver.said
    assert "no progress" in driver.said
    assert "--retry-failed" in driver.said
    log = read_logs(store, "finetune", tunes[3].id)[0]
    assert log.splitlines()[0].startswith("# 20")
    assert "about to crash" in log
    assert "CUDA out of memory" in "".join(read_logs(store, "finetune", tunes[5].id))
    assert "# done in" in read_logs(store, "finetune", tunes[0].id)[-1]


def slay(driver: Driver, kind: str) -> None:
    pids = [p.pid for p in processes(driver.process.pid) if p.kind == kind]
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)
