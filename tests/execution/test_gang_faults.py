"""Gangs whose workers hang, crash or are killed."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import processes
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.expand import expand
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.logs import read_logs
from tamt_ray.store.store import Store

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
Faults = StartDriver = Any
"""The fixtures' own classes, of `conftest`."""


def test_a_gang_survives_a_rank_that_stands_still_and_a_unit_that_crashes_it(
    toy: Toy, faults: Faults, start_driver: StartDriver, tmp_path: Path
) -> None:
    """Two DDP workers. In one search the second rank is stopped, once: it is found by the lack of
    progress, both are killed, and the search is done in the next gang. In another one the second
    rank is killed before its fifth step: the search goes on with the state behind the fourth, and
    its mask is to the bit that of one process which nothing befell. In the last one the second rank
    crashes each time: it is set aside after its retries, and everything else is done.
    """
    toy["methods"] = [
        "omp",
        {"method": "tamt_mlm", "steps": 4},
        {"method": "tamt_kd", "steps": 4},
        {"method": "tamt_mlm_kd", "steps": 6, "lr": 5e-3},
    ]
    toy["tasks"] = {}
    toy["execution"] = {
        "retries": 1, "patience": 15, "search": {"workers": 2, "state_every": 1e-9}
    }  # fmt: skip
    hung = faults.inject("stop", rank=1, method="tamt_mlm")
    crashing = faults.inject("crash", times=9, rank=1, method="tamt_kd")
    killed = faults.inject("kill", rank=1, step=4, method="tamt_mlm_kd")

    passed = faults.inject("nothing", times=9, rank=1, step=2, method="tamt_mlm_kd")

    driver = start_driver(toy, **faults.environment)
    assert driver.end() == 1, driver.said

    sweep = Sweep.model_validate(toy)
    plan, store = expand(sweep), Store(sweep.store)
    searches = {u.cell.method: u for u in plan.units.values() if u.kind == "search"}
    done = store.done(plan.units)
    assert searches["tamt_mlm"].id in done
    assert searches["omp"].id in done
    mask = done[searches["tamt_mlm_kd"].id].artifacts["mask.safetensors"]
    alone = UnitRunner(Store(str(tmp_path / "alone")), ProcessGroup(), "here")
    assert mask == alone.perform(searches["tamt_mlm_kd"]).artifacts["mask.safetensors"]
    failures = store.failures(plan.units)
    assert failures.keys() == {searches["tamt_kd"].id}
    assert failures[searches["tamt_kd"].id].error == "WorkerDied"
    assert [len(faults.struck(name)) for name in (hung, killed, passed, crashing)] == [1, 1, 1, 2]
    assert "no progress, attempt 1" in driver.said
    logs = read_logs(store, "search", searches["tamt_mlm"].id)
    assert any("about to stop" in log for log in logs)
    evaluated = {u.cell.method for u in plan.units.values() if u.id in done}
    assert evaluated == {"full", "omp", "tamt_mlm", "tamt_mlm_kd"}


@pytest.mark.parametrize(
    ("number", "kinds"),
    [
        (signal.SIGKILL, {"gang controller"}), (signal.SIGSTOP, {"gang controller"}),
        (signal.SIGKILL, {"gang controller", "board"}),
    ],
    ids=["killed", "stopped", "killed with the board"],
)  # fmt: skip
def test_the_places_of_a_gang_whose_controller_dies_are_given_back(
    toy: Toy, start_driver: StartDriver, tmp_path: Path, number: signal.Signals, kinds: set[str]
) -> None:
    """The gang fills the cluster: unless its places are given back, nothing ever runs again. One
    that stands still, here while a search is under way, is killed once it was silent for a minute;
    by then the workers may be done, and the run would wait for the controller for ever."""
    toy["methods"] = [{"method": "tamt_kd", "steps": 400}]
    toy["search"]["decay_steps"] = 400
    toy["tasks"] = {}
    toy["execution"] = {"search": {"workers": 2}}
    driver = start_driver(toy, TMPDIR=str(tmp_path), RAY_TMPDIR="/tmp")
    driver.wait_for(lambda: any(p.stat().st_size for p in tmp_path.glob("tamt-log-*")))
    struck = [p for p in processes(driver.process.pid) if p.kind in kinds]
    assert len(struck) == len(kinds)
    for process in struck:
        os.kill(process.pid, number)
    assert driver.end(200) == 0, driver.said
    # A new board does not know what the one before it lost.
    known = number == signal.SIGKILL and "board" not in kinds
    assert not known or "lost   search tiny tamt_kd" in driver.said
    driver.gone(struck)
