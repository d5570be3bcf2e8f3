"""What is left in the temporary directory, and by whom."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tamt_ray.execution.worker.output import Capture
from tamt_ray.values.scratch import Scratch, sweep

KILLED = """
import os, signal
from tamt_ray.execution.worker.output import Capture
from tamt_ray.values.scratch import Scratch
(Scratch("fleet").path / "file").write_text("x")
Capture(), Capture()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def test_what_killed_processes_left_is_removed(temporary: Path) -> None:
    """Their folders at once, their logs once nobody fetches them any more; what is in use, belongs
    to something else or leads elsewhere stays."""
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    left = sorted(temporary.iterdir())
    assert [path.name[:9] for path in left] == ["tamt-flee", "tamt-log-", "tamt-log-"]
    old = left[1]
    os.utime(old, (0, time.time() - 4000))
    mine, capture = Scratch("gang"), Capture()
    os.utime(capture.path, (0, 0))
    kept = temporary / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (temporary / "tamt-ray-link").symlink_to(kept)
    (temporary / "tamt-chaos-results").mkdir()

    sweep()
    assert set(temporary.iterdir()) == {
        left[2], mine.path, capture.path, kept, temporary / "tamt-ray-link",
        temporary / "tamt-chaos-results",
    }  # fmt: skip
    assert (kept / "file").exists()
    mine.remove()
    assert capture.take() == b""
    assert not mine.path.exists()
    assert not capture.path.exists()


@pytest.mark.timeout(20)
def test_nothing_of_others_is_opened(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody may put a pipe into the temporary directory, and opening one would never end."""
    os.mkfifo(temporary / "tamt-log-pipe")
    (temporary / "tamt-ray-socket").symlink_to("/dev/tty")
    sweep()
    log = temporary / "tamt-log-old"
    log.touch()
    os.utime(log, (0, 0))
    (temporary / "tamt-gang-folder").mkdir()
    with monkeypatch.context() as patch:
        mine = os.getuid()
        patch.setattr(os, "getuid", lambda: mine + 1)
        patch.delattr(os, "open")
        sweep()
        assert len([*temporary.iterdir()]) == 4
    sweep()
    assert {path.name for path in temporary.iterdir()} == {"tamt-log-pipe", "tamt-ray-socket"}


def test_a_process_killed_while_it_makes_a_folder(temporary: Path) -> None:
    """The folder is found by the next sweep; one that a sweep took is made again."""
    kill = "import fcntl, os; fcntl.flock = lambda *_: os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", f"{MAKE}\n{kill}\nScratch('gang')"], check=False)
    assert len([*temporary.iterdir()]) == 1
    sweep()
    assert [*temporary.iterdir()] == []
    swept = subprocess.run(
        [sys.executable, "-c", f"{MAKE}\n{SWEPT}"], check=True, capture_output=True, text=True
    )
    assert swept.stdout == "True\n"


MAKE = "from tamt_ray.values.scratch import Scratch, sweep"
SWEPT = """
import fcntl
flock = fcntl.flock
def late(*arguments):
    fcntl.flock = flock
    sweep()
    flock(*arguments)
fcntl.flock = late
print(Scratch("gang").path.is_dir())
"""


def test_nobody_else_enters(temporary: Path) -> None:
    before = os.umask(0)
    try:
        with Scratch("ray") as path:
            assert path.stat().st_mode & 0o777 == 0o700
            assert path.parent == temporary
    finally:
        os.umask(before)
    assert not path.exists()
