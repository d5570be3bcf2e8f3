"""The process that outlives the driver: it passes on signals and codes, and speaks at last."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, subprocess, sys, time
from pathlib import Path
from tamt_ray.cli.supervisor import leave, supervised

def driver():
    Path("pid").write_text(str(os.getpid()))
    {body}

supervised(driver, "tamt run mine.yaml")
"""
LASTING = """
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path("other").write_text(str(other.pid))
    """
WAIT = """
    Path("ready").touch()
    while True:
        time.sleep(0.02)
"""
CAUGHT = """
    from tamt_ray.execution.interruption import BrokenOffError
    from tamt_ray.execution.interruption import caught_signals
    with caught_signals() as signals:
        Path("ready").touch()
        begun = time.monotonic()
        while not signals.caught or time.monotonic() - begun < 1.2:
            time.sleep(0.02)
            begun = begun if signals.caught else time.monotonic()
        Path("saved").touch()
        try:
            signals.raise_if_caught()
        except BrokenOffError as error:
            leave(error.code)
"""
GO_ON = "what is done is kept in the store, the same command goes on:\ntamt run mine.yaml\n"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a supervisor in a process group of its own, whose driver does as the body says."""
    started: list[subprocess.Popen[str]] = []

    def begin(body: str, wait: bool = True, before: str = "") -> subprocess.Popen[str]:
        # Tests that run under nohup inherit an ignored SIGHUP.
        undone = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        script = undone + before + SCRIPT.format(body=body)
        process = subprocess.Popen(
            [sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        until = time.monotonic() + 60
        while wait and not (tmp_path / "ready").exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        # Not read to its end: a process that a test leaves behind may hold it open.
        if process.stderr:
            process.stderr.close()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def alive(file: Path) -> bool:
    """Whether the process whose id is in a file is there and not only waits to be buried."""
    try:
        return bool(Path(f"/proc/{file.read_text()}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
@pytest.mark.parametrize("how", ["sys.exit({})", "leave({})"])
def test_a_driver_that_ends_by_itself_has_said_all(code: int, how: str, start: Start) -> None:
    assert end(start(how.format(code), wait=False)) == (code, "")


@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("os._exit(1)", "Ray ended the driver (exit code 1), as it does when its head is gone; "),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "the driver was killed by SIGKILL, perhaps because memory ran out; ",
        ),
        ("os.abort()", "the driver was killed by SIGABRT; "),
    ],
)  # fmt: skip
def test_a_driver_that_dies_without_a_word_is_spoken_for(
    death: str, words: str, start: Start, tmp_path: Path
) -> None:
    """And what it started is gone, wherever it belongs to."""
    assert end(start(LASTING + death, wait=False)) == (3, words + GO_ON)
    assert (tmp_path / "other").exists()
    assert not alive(tmp_path / "other")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "handler", ["", "signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))"]
)
def test_a_signal_before_anything_catches_it(
    number: signal.Signals, handler: str, start: Start
) -> None:
    """As during Ray's start, which has a handler of its own that ends with another code."""
    process = start(f"signal.signal(signal.SIGINT, signal.SIG_DFL)\n    {handler}{WAIT}")
    process.send_signal(number)
    assert end(process) == (128 + number, f"interrupted; {GO_ON}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_is_one_signal(
    number: signal.Signals, start: Start, tmp_path: Path
) -> None:
    """A terminal sends Ctrl-C to the driver and to its supervisor, which passes it on."""
    process = start(CAUGHT)
    os.killpg(process.pid, number)
    assert end(process) == (128 + number, "")
    assert (tmp_path / "saved").exists()


def test_a_second_signal_ends_all_at_once(start: Start, tmp_path: Path) -> None:
    process = start(LASTING + CAUGHT.replace("< 1.2", "< 600"))
    process.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, f"interrupted; {GO_ON}")
    assert not alive(tmp_path / "other")


def test_nohup_is_respected(start: Start, tmp_path: Path) -> None:
    process = start(CAUGHT, before="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    os.killpg(process.pid, signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    assert not (tmp_path / "saved").exists()


def test_the_driver_goes_with_its_supervisor(start: Start, tmp_path: Path) -> None:
    process = start(WAIT)
    assert alive(tmp_path / "pid")
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while alive(tmp_path / "pid"):
        assert time.monotonic() < until
        time.sleep(0.02)
