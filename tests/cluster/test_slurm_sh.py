"""cluster/slurm.sh: told what to start where, with fakes for Slurm, Ray and the driver on PATH."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"
SHELLCHECK = Path(sys.executable).parent / "shellcheck"

# Each says how it was called, and with what token; the driver does as its sweep is named.
FAKE = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
"""
FAKES = {
    "scontrol": "printf 'node1\\nnode2\\nnode3\\n'",
    # As Debian has it: the own name stands for a loopback address first.
    "getent": "printf '127.0.1.1 STREAM node1\\n10.1.2.3 STREAM node1\\n10.1.2.4 STREAM\\n'",
    "nvidia-cuda-mps-control": 'test "$CUDA_MPS_PIPE_DIRECTORY" == /tmp/tamt-mps-1234',
    "srun": 'while [[ $1 == --* ]]; do shift; done; "$@"',
    "ray": """
[ "$1" == stop ] || echo "ray's umask $(umask)" >> "$CALLS"
stat -c "token %a" "$RAY_AUTH_TOKEN_PATH" >> "$CALLS"
cp "$RAY_AUTH_TOKEN_PATH" "$KEPT"
""",
    "python": """
case "$*" in
  *token_hex*) exec python3 "$@" ;;
  *my.yaml*) echo "driver's umask $(umask)" >> "$CALLS" ;;
  *failing*) exit 1 ;;
  *endless*)
    trap 'echo saved >> "$CALLS"; exit 143' TERM
    echo armed >> "$CALLS"
    while :; do sleep 0.05; done ;;
esac
""",
}


class Slurm:
    """A Slurm of three nodes that runs jobs and notes down what they call."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        bin = self.home / "venv" / "bin"
        bin.mkdir(parents=True)
        for name, does in FAKES.items():
            (bin / name).write_text(FAKE + does)
            (bin / name).chmod(0o755)
        self.calls = folder / "calls"
        self.token = folder / "token"

    def start(self, sweep: str) -> subprocess.Popen[bytes]:
        job = {"SLURM_JOB_ID": "1234", "SLURM_JOB_NODELIST": "node[1-3]", "SLURM_CPUS_ON_NODE": "8"}
        mine = {"HOME": str(self.home), "CALLS": str(self.calls), "KEPT": str(self.token)}
        environment = {"PATH": os.environ["PATH"], "SLURM_GPUS_ON_NODE": "4", **job, **mine}
        path = f"{self.home}/venv/bin:{environment['PATH']}"
        return subprocess.Popen([SCRIPT, sweep], env={**environment, "PATH": path})

    def said(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


def test_a_head_its_workers_and_the_driver_are_started_with_one_token(slurm: Slurm) -> None:
    assert slurm.start("my.yaml").wait(60) == 0
    said = slurm.said()
    resources = "--num-cpus=8 --num-gpus=4"
    head = "ray start --head --node-ip-address=10.1.2.3 --port=21234 --dashboard-host=127.0.0.1"
    worker = f"ray start --block --address=10.1.2.3:21234 {resources}"
    assert f"{head} {resources}" in said
    (start,) = (line for line in said if line.startswith("srun "))
    assert start.startswith("srun --nodes=2 --ntasks=2 --exclude=node1 --cpu-bind=none bash -c ")
    assert start.endswith(f" mps {worker}")
    # A daemon on either kind of node, before Ray, and none is left.
    daemons = [n for n, line in enumerate(said) if line == "nvidia-cuda-mps-control -d"]
    assert [daemons[0] < said.index(f"{head} {resources}"), len(daemons)] == [True, 2]
    assert said.count("nvidia-cuda-mps-control ") == 1
    assert worker in said
    driver = said.index("python -m tamt_ray.sweep my.yaml --address 10.1.2.3:21234")
    waited = next(n for n, line in enumerate(said) if line.endswith("10.1.2.3:21234 3"))
    assert waited < driver, "all three nodes are waited for"
    assert {line for line in said if line.startswith("token")} == {"token 600"}
    before = os.umask(0)
    os.umask(before)
    umasks = {line for line in said if "umask" in line}
    assert umasks == {"ray's umask 0077", f"driver's umask {before:04o}"}
    token = slurm.token.read_text()
    assert len(token) == 64
    assert not any(token in line for line in said)


def test_the_job_ends_with_the_drivers_code_and_leaves_no_token(slurm: Slurm) -> None:
    assert slurm.start("failing.yaml").wait(60) == 1
    assert "ray stop" in slurm.said()
    assert [path.name for path in slurm.home.iterdir()] == ["venv"]


def test_time_running_out_reaches_the_driver_and_is_waited_for(slurm: Slurm) -> None:
    job = slurm.start("endless.yaml")
    until = time.monotonic() + 60
    while not ("armed" in slurm.said() and listens(job.pid, signal.SIGTERM)):
        assert time.monotonic() < until
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 143
    assert "saved" in slurm.said()


def listens(pid: int, number: int) -> bool:
    """Whether a process has set a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_a_job_without_a_sweep_says_how(slurm: Slurm) -> None:
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr
    assert slurm.said() == []


@pytest.mark.parametrize("script", [SCRIPT, Path(__file__).with_name("host.sh")])
def test_scripts_are_sound_shell(script: Path) -> None:
    done = subprocess.run([SHELLCHECK, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
