"""SIGTERM and SIGINT end a run alike, and the same command goes on from there."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.chaos import processes
from tamt_ray.plan.expand import expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

Toy = dict[str, Any]
StartDriver = Any
"""The fixture's own class, of `conftest`."""


def test_the_first_signal_saves_and_the_second_ends_at_once(
    toy: Toy, start_driver: StartDriver, tmp_path: Path
) -> None:
    """A search of a million steps is at work. SIGTERM: its state is saved and the run ends with
    143, long before the grace period is over. Started again, it goes on from there; SIGINT twice:
    gone at once, with all that worked for it."""
    toy["methods"] = [{"method": "tamt_mlm", "steps": 1_000_000}]
    toy["search"]["decay_steps"] = 1_000_000
    toy["execution"] = {"grace": 100}
    states = Path(str(toy["store"])) / "states"

    def begun() -> bool:
        return any(path.stat().st_size for path in tmp_path.glob("tamt-log-*"))

    temporary = {"TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp"}
    driver = start_driver(toy, "--only", "search/*", **temporary)
    driver.wait_for(begun)
    assert not list(states.rglob("*.safetensors"))
    driver.process.send_signal(signal.SIGTERM)
    assert driver.end(95) == 143, driver.said
    assert "units at work have 100 s to save their states" in driver.said
    assert "the same command goes on" in driver.said
    saved = [int(path.name.split("-")[0]) for path in states.rglob("*.safetensors")]
    assert len(saved) == 1
    log = next(Path(str(toy["store"])).glob("logs/search/*/*.txt")).read_text()
    assert "stopped with the run" in log

    driver = start_driver(toy, "--only", "search/*", **temporary)
    driver.wait_for(begun)
    below = [process for process in processes(driver.process.pid) if process.kind]
    assert {"board", "gang rank"} <= {process.kind for process in below}
    driver.process.send_signal(signal.SIGINT)
    driver.wait_for(lambda: "stopping" in driver.said)
    driver.process.send_signal(signal.SIGINT)
    assert driver.end(20) in {-signal.SIGINT, 130}, driver.said
    driver.gone(below)


@pytest.mark.faults
def test_a_sweep_outlives_who_reads_it(toy: Toy, tmp_path: Path) -> None:
    """`… 2>&1 | head -2`: the reader is gone after two lines; everything is computed all the same,
    and the exit code says so."""
    toy["methods"] = ["random", "omp"]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(toy))
    line = '("$PYTHON" -m tamt_ray.sweep sweep.yaml; echo $? > code) 2>&1 | head -2'
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TAMT_", "RAY_"))},
        "TAMT_CACHE": str(tmp_path / "cache"), "PYTHON": sys.executable,
    }  # fmt: skip
    subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "code").read_text() == "0\n"
    plan = expand(Sweep.model_validate(toy))
    assert Store(str(toy["store"])).done(plan.units).keys() == plan.units.keys()


@pytest.mark.faults
def test_a_closed_terminal_ends_the_run(toy: Toy, tmp_path: Path) -> None:
    """The window is closed in the middle of a search: its state is saved, no process is left."""
    toy["methods"] = [{"method": "tamt_mlm", "steps": 1_000_000}]
    toy["search"]["decay_steps"] = 1_000_000
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(toy))
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TAMT_", "RAY_"))},
        "TAMT_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp",
    }  # fmt: skip
    arguments = [sys.executable, "-m", "tamt_ray.sweep", "sweep.yaml", "--only", "search/*"]
    shell, terminal = pty.fork()
    if shell == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, arguments, environment)

    def read() -> None:
        # What nobody reads would stop the run at a full buffer.
        try:
            while os.read(terminal, 4096):
                pass
        except OSError:
            return

    threading.Thread(target=read, daemon=True).start()
    until = time.monotonic() + 200
    while not any(path.stat().st_size for path in tmp_path.glob("tamt-log-*")):
        assert time.monotonic() < until
        time.sleep(0.1)
    below = [process for process in processes(shell) if process.kind]
    assert {"driver", "board", "gang rank"} <= {process.kind for process in below}
    os.close(terminal)
    _, status = os.waitpid(shell, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    while any(Path(f"/proc/{process.pid}/cmdline").exists() for process in below):
        assert time.monotonic() < until + 15
        time.sleep(0.1)
    assert list((Path(str(toy["store"])) / "states").rglob("*.safetensors"))
