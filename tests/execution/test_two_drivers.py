"""Two whole runs of one sweep: a driver that was paused too long wakes while another one runs."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import processes
from tamt_ray.plan.expand import expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
Driver = StartDriver = Any
"""The fixtures' own classes, of `conftest`."""


def test_a_paused_driver_that_wakes_stops(
    toy: Toy, start_driver: StartDriver, tmp_path: Path
) -> None:
    """As if its machine were suspended: the first one and all that works for it are stopped in the
    middle of a search. The second one watches its lease for half a minute and takes over; then the
    first one is woken: it ends with 3 and says who runs the sweep now. The second one ends well,
    and every record is its own."""
    toy["methods"] = [{"method": "tamt_mlm", "steps": 400}]
    toy["search"]["decay_steps"] = 400
    sweep = Sweep.model_validate(toy)
    plan, store = expand(sweep), Store(sweep.store)
    leases = tmp_path / "results" / "leases" / "toy"

    def searching() -> bool:
        return any(path.stat().st_size for path in tmp_path.glob("tamt-log-*"))

    temporary = {"TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp"}
    first = start_driver(toy, "--only", "search/*", **temporary)
    first.wait_for(searching)
    paused = processes(first.process.pid)
    for process in paused:
        os.kill(process.pid, signal.SIGSTOP)
    assert not store.done(plan.units)

    second = start_driver(toy)
    second.wait_for(lambda: list(leases.glob("00000002-*")) and "search" in second.said)
    pids = first.pid, second.pid
    for process in paused:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
    assert first.end(120) == 3, first.said
    assert f"pid {pids[1]}" in first.said, first.said
    assert f"pid {pids[0]}" in second.said, "it said whom it watched"
    assert second.end() == 0, second.said

    done = store.done(plan.units)
    assert done.keys() == plan.units.keys()
    first.gone(paused)
