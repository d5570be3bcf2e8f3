"""A run that Python started: its lines, and in a notebook its live view in one changing output."""

import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tamt_ray.cli.frames import FRAMES

Show = Callable[[Mapping[str, str]], None]
"""Shows a frame, its text by media type, in place of the one before."""
_IN_FRAMES = ("done   ", "so far: ")
"""Beginnings of lines whose content a live view has."""


def changing_output() -> Show | None:
    """Return a way to show frames in the notebook that this process is the kernel of; None where
    it is none."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel"):
        return None
    display: Any = importlib.import_module("IPython.display").display
    handle: Any = None

    def show(frame: Mapping[str, str]) -> None:
        nonlocal handle
        if handle is None:
            handle = display(dict(frame), raw=True, display_id=True)
        else:
            handle.update(dict(frame), raw=True)

    return show


def follow_run(command: Sequence[str], show: Show | None) -> tuple[int, str]:
    """Run a command to its end; return its exit code and its last line.

    Prints its lines as they come, or with `show` those that no frame has. An interrupt is passed
    on, since a notebook interrupts its kernel alone, and raised once the command has ended.
    """
    ours, theirs = os.pipe()
    last, interrupted = "", False

    def say(line: str) -> None:
        nonlocal last
        last = line.strip() or last
        if not (show and line.startswith(_IN_FRAMES)):
            sys.stdout.write(line)

    def draw(line: str) -> None:
        # A frame that is cut or cannot be shown is dropped; the next one comes.
        with suppress(Exception):
            if show:
                show(json.loads(line))

    asked = {FRAMES: str(theirs)} if show else {}
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[theirs] if show else [], env={**os.environ, **asked},
        ) as process,
        # Closed before the process is waited for, which a full pipe would stop.
        os.fdopen(ours, "rb", buffering=0),
        selectors.DefaultSelector() as ready,
    ):  # fmt: skip
        os.close(theirs)
        assert process.stdout is not None
        lines, frames = _Lines(say), _Lines(draw)
        ready.register(process.stdout.fileno(), selectors.EVENT_READ, lines)
        ready.register(ours, selectors.EVENT_READ, frames)
        while not lines.ended:
            try:
                for key, _ in ready.select():
                    if key.data.read(key.fd):
                        ready.unregister(key.fd)
            except KeyboardInterrupt:
                interrupted = True
                process.send_signal(signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode, last


class _Lines:
    """Puts the lines of a pipe together."""

    def __init__(self, act: Callable[[str], None]) -> None:
        self._act = act
        self._rest = b""
        self.ended = False

    def read(self, descriptor: int) -> bool:
        """Read what is there; return whether that was the end."""
        data = os.read(descriptor, 1 << 16)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if not data:
            self.ended = True
            whole = [self._rest] if self._rest else []
        for line in whole:
            self._act(line.decode(errors="replace") + "\n")
        return self.ended
