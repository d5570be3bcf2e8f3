"""What a process writes while it does a unit, whoever writes it."""

import ctypes
import logging
import os
import subprocess
import sys
from pathlib import Path

from tamt_ray.execution.worker.output import Capture, tail
from tamt_ray.store.logs import LOG_BYTES, log_path, read_logs
from tamt_ray.store.store import Store

SCRIPT = """
import ctypes, logging, os, signal, sys
from tamt_ray.execution.worker.output import Capture
capture = Capture()
print("before")
print(capture.path, file=sys.stderr, flush=True)
with capture:
    print("printed")
    print("complained", file=sys.stderr)
    logging.getLogger("lib").warning("logged")
    ctypes.CDLL(None).puts(b"from C")
    ctypes.CDLL(None).fflush(None)
    os.system("echo child")
    if len(sys.argv) > 1:
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
print("after")
sys.stderr.buffer.write(capture.take())
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=False
    )


def test_everything_within_the_block_and_nothing_else() -> None:
    done = run()
    path, *lines = done.stderr.splitlines()
    assert done.stdout == "before\nafter\n"
    assert sorted(line.split()[-1] for line in lines) == sorted(
        ["printed", "complained", "logged", "C", "child"]
    )
    assert not Path(path).exists()


def test_what_a_killed_process_wrote_stays_on_its_host() -> None:
    done = run("die")
    path = Path(done.stderr.splitlines()[0])
    assert done.returncode == -9
    assert {"printed", "from C", "child"} <= set(tail(path).decode().splitlines())
    path.unlink()


def test_logs_are_bounded_while_they_grow() -> None:
    """The newest lines stay, whole."""
    capture = Capture()
    with capture:
        for number in range(60_000):
            os.write(1, f"line {number:06d}\n".encode())
            if number % 10_000 == 0:
                capture.trim()
                assert capture.path.stat().st_size <= 2 * LOG_BYTES
        os.write(2, b"the end\n")
    lines = capture.take().decode().splitlines()
    assert lines[0] == "[...]"
    assert lines[-1] == "the end"
    numbers = [int(line.split()[1]) for line in lines[1:-1]]
    assert numbers == list(range(numbers[0], 60_000))
    assert LOG_BYTES - 100 < sum(len(line) + 1 for line in lines) <= LOG_BYTES + 6


def test_logging_ends_with_the_block() -> None:
    before = list(logging.getLogger().handlers)
    capture = Capture()
    with capture:
        assert len(logging.getLogger().handlers) == len(before) + 1
    assert logging.getLogger().handlers == before
    ctypes.CDLL(None).fflush(None)
    assert capture.take() == b""


def test_logs_are_read_in_the_order_they_were_begun(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for attempt, stamp in [(1, "2026-01-02 00:00:00 +0000"), (2, "2026-01-01 00:00:00 +0000")]:
        text = f"# {stamp} finetune, attempt {attempt} on here\nüber\n"
        store.write(log_path("finetune", "ab", attempt, 0), text.encode())
    found = read_logs(store, "finetune", "ab")
    assert [text.splitlines()[0][2:12] for text in found] == ["2026-01-01", "2026-01-02"]
    assert all(text.endswith("über\n") for text in found)
    assert read_logs(store, "finetune", "cd") == []
