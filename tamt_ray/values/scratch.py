"""Private folders and logs in the temporary directory, and what killed processes left of them."""

import contextlib
import fcntl
import os
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal, get_args

Purpose = Literal["ray", "fleet", "gang", "summary", "job", "model"]
LOGS = "tamt-log-"
"""Prefix of the files that hold a worker's output."""
_ATTEMPTS = 50
"""Processes that are ending may still write for a moment."""
_FETCHED = 3600.0
"""Seconds for which the log of a lost worker is kept."""


def base_of_ray() -> Path:
    """Return the directory for Ray's own files, as Ray chooses it: its sockets need a short
    path."""
    variables = ("RAY_TMPDIR", "TMPDIR") if sys.platform == "linux" else ("RAY_TMPDIR",)
    return Path(next((os.environ[name] for name in variables if os.environ.get(name)), "/tmp"))


def lock(descriptor: int, *, wait: bool = False) -> None:
    """Mark a file or folder as in use until this process ends or closes it.

    Raises BlockingIOError where another process has it in use, unless it shall `wait`.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def sweep() -> None:
    """Remove the folders and logs that killed processes of this user left."""
    prefixes = tuple(f"tamt-{purpose}-" for purpose in get_args(Purpose))
    for base in {Path(tempfile.gettempdir()), base_of_ray()}:
        for path in base.glob("tamt-*"):
            if path.name.startswith((*prefixes, LOGS)):
                with contextlib.suppress(OSError):
                    _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    """Raises OSError where it is in use, or gone meanwhile."""
    # Others may put anything here: only this user's folders and files are opened at all, and what
    # takes their place meanwhile must not block.
    status = path.lstat()
    folder = stat.S_ISDIR(status.st_mode)
    if status.st_uid != os.getuid() or not (folder or stat.S_ISREG(status.st_mode)):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        lock(descriptor)
        if folder:
            shutil.rmtree(path)
        elif time.time() - status.st_mtime > _FETCHED:
            path.unlink()
    finally:
        os.close(descriptor)


class Scratch:
    """A new folder `tamt-<purpose>-…` in `base`, by default the temporary directory.

    A context manager that gives its path and removes it. `sweep` removes those of dead processes.
    """

    def __init__(self, purpose: Purpose, base: Path | None = None) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"tamt-{purpose}-", dir=base))
            # Until it is locked, a sweep may take it for a dead process's.
            with contextlib.suppress(FileNotFoundError):
                self._lock = os.open(self.path, os.O_RDONLY)
                lock(self._lock, wait=True)
                if self.path.exists():
                    return
                os.close(self._lock)

    def remove(self) -> None:
        """Delete it with all that is in it."""
        for _ in range(_ATTEMPTS):
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break
            time.sleep(0.1)
        os.close(self._lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_error: object) -> None:
        self.remove()
