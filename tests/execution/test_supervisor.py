"""Whatever ends a run from outside, somebody says what happened, and nothing is left of it."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import Process, processes

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
StartDriver = RunningDriver = Any
"""The fixture's own classes, of `conftest`."""


def at_work(toy: Toy, start_driver: StartDriver, tmp_path: Path) -> RunningDriver:
    """A driver whose search of a million steps has begun."""
    toy["methods"] = [{"method": "tamt_mlm", "steps": 1_000_000}]
    toy["search"]["decay_steps"] = 1_000_000
    (tmp_path / "tmp").mkdir()
    temporary = {"TMPDIR": str(tmp_path / "tmp"), "RAY_TMPDIR": "/tmp"}
    driver = start_driver(toy, "--only", "search/*", **temporary)
    driver.wait_for(lambda: any(p.stat().st_size for p in tmp_path.glob("tmp/tamt-log-*")))
    return driver


def running(below: list[Process]) -> list[Process]:
    return [p for p in below if (Path(f"/proc/{p.pid}/cmdline")).exists()]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("raylet", "Ray ended the driver"),
        ("gcs server", "Ray ended the driver"),
        ("driver", "the driver was killed by SIGKILL"),
    ],
)
def test_a_run_that_cannot_go_on_says_so(
    kind: str, words: str, toy: Toy, start_driver: StartDriver, tmp_path: Path
) -> None:
    """Within 15 s: what happened, what is kept, which command goes on, exit code 3, no process and
    no folder left."""
    driver = at_work(toy, start_driver, tmp_path)
    below = processes(driver.process.pid)
    (victim,) = [process for process in below if process.kind == kind]
    os.kill(victim.pid, signal.SIGKILL)
    begun = time.monotonic()
    assert driver.end(60) == 3, driver.said
    assert time.monotonic() - begun < 15
    assert words in driver.said
    assert "what is done is kept in the store" in driver.said
    assert driver.said.endswith("\npython -m tamt_ray.sweep sweep.yaml --only 'search/*'\n")
    assert running(below) == []
