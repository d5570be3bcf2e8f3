"""A run that Python started: its lines, and its live view in a notebook."""

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from tamt_ray.api import RunError, run
from tamt_ray.cli.frames import FRAMES
from tamt_ray.cli.notebook import changing_output, follow_run
from tamt_ray.cli.progress import Progress
from tamt_ray.execution.activity import Activity, LiveStatus
from tamt_ray.plan.expand import Plan

CHILD = f"""
import json, os, sys, time
frames = os.environ.get("{FRAMES}")
print("starting Ray", flush=True)
for number in range(2):
    if frames:
        os.write(int(frames), json.dumps({{"text/plain": str(number)}}).encode() + b"\\n")
    print("done   a unit", file=sys.stderr, flush=True)
print("the end")
sys.exit(3)
"""


def test_a_notebook_shows_frames_and_the_other_lines(capsys: pytest.CaptureFixture[str]) -> None:
    frames: list[Mapping[str, str]] = []
    assert follow_run([sys.executable, "-c", CHILD], frames.append) == (3, "the end")
    assert frames == [{"text/plain": "0"}, {"text/plain": "1"}]
    assert capsys.readouterr().out == "starting Ray\nthe end\n"


def test_a_notebook_that_cannot_show_a_frame_follows_the_run_all_the_same() -> None:
    def show(frame: Mapping[str, str]) -> None:
        raise RuntimeError(frame)

    many = CHILD.replace("range(2)", "range(9)").replace("str(number)", "'x' * 20_000")
    assert follow_run([sys.executable, "-c", many], show) == (3, "the end")


def test_elsewhere_all_lines_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert follow_run([sys.executable, "-c", CHILD], None) == (3, "the end")
    assert capsys.readouterr().out.splitlines() == [
        "starting Ray", "done   a unit", "done   a unit", "the end"
    ]  # fmt: skip


def test_an_interrupt_reaches_the_run_and_is_raised_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = """
import time
print("at work", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("saved", flush=True)
"""

    class Interrupting(io.StringIO):
        """Interrupts the kernel once the run is at work."""

        def write(self, line: str) -> int:
            if line == "at work\n":
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            return super().write(line)

    said = Interrupting()
    monkeypatch.setattr(sys, "stdout", said)
    with pytest.raises(KeyboardInterrupt):
        follow_run([sys.executable, "-c", child], None)
    assert said.getvalue() == "at work\nsaved\n"


def test_a_run_writes_its_live_view_for_whoever_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    monkeypatch.setenv(FRAMES, str(theirs))
    progress = Progress(Plan({}, {}), Console(quiet=True))
    assert FRAMES not in os.environ, "no worker inherits it"
    progress.watch(LiveStatus(None, Activity((), {}, {"search": 2}, {}, {"search": 6}, 9.0, None)))
    frame = json.loads(os.read(ours, 1 << 16))
    os.close(ours)
    progress.stage("the notebook is gone")
    os.close(theirs)
    assert "2 of 6 units done" in frame["text/plain"]
    assert frame["text/html"].startswith("<pre")
    assert "2 of 6 units done" in frame["text/html"]


def test_the_live_view_is_one_output_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, object]] = []

    def display(frame: object, *, raw: bool, display_id: bool) -> object:
        assert raw
        assert display_id
        shown.append(("new", frame))
        return SimpleNamespace(update=lambda later, raw: shown.append(("again", later)))

    library = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", library)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    vars(library)["get_ipython"] = lambda: SimpleNamespace()
    assert changing_output() is None, "IPython on a terminal"
    vars(library)["get_ipython"] = lambda: SimpleNamespace(kernel=object())
    show = changing_output()
    assert show
    for number in "01":
        show({"text/plain": number})
    assert shown == [("new", {"text/plain": "0"}), ("again", {"text/plain": "1"})]


def test_a_run_that_cannot_be_names_its_last_line() -> None:
    with pytest.raises(RunError, match=r"none.yaml: cannot be read"):
        run("none.yaml")
