"""Commits again and again in forks, each killed one step later than the one before.

A kill takes with it what was not yet synced: such files lose their ends, as after a power cut.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from store_cases import MASK, record_of, unit

from tamt_ray.store.store import Store

# Made before files are opened in halves, and once: the first one looks for plug-ins.
FIRST, LATER = record_of(unit(2)), record_of(unit(1))

synced: set[str] = set()
points = 0


def cut_off(root: Path, last: int) -> None:
    """Called at every step of a write; the step `last` is not survived."""
    global points
    points += 1
    if points > last:
        for path in root.rglob("*"):
            if path.is_file() and str(path) not in synced:
                os.truncate(path, path.stat().st_size // 3)
        os.kill(os.getpid(), signal.SIGKILL)


class Halved:
    """A file whose writes are made in two halves."""

    def __init__(self, stream: IO[bytes], point: Callable[[], None]) -> None:
        self._stream, self._point = stream, point

    def write(self, data: bytes) -> None:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            self._stream.write(part)
            self._stream.flush()
            self._point()

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def __enter__(self) -> "Halved":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def commit_until(root: Path, last: int) -> None:
    synced.update(str(path) for path in root.rglob("*"))
    store = Store(str(root))
    sync, replace, make, opened = os.fsync, Path.replace, Path.mkdir, Path.open

    def point() -> None:
        cut_off(root, last)

    def fsync(descriptor: int) -> None:
        point()
        sync(descriptor)
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        point()

    def rename(path: Path, target: Path) -> None:
        point()
        replace(path, target)
        if str(path) in synced:
            synced.add(str(target))
        else:
            synced.discard(str(target))
        point()

    def mkdir(path: Path, exist_ok: bool = False) -> None:
        make(path, exist_ok=exist_ok)
        point()

    os.fsync, Path.replace, Path.mkdir = fsync, rename, mkdir
    Path.open = lambda path, mode="r", **more: (
        Halved(opened(path, mode), point) if mode == "xb" else opened(path, mode, **more)
    )
    store.commit(FIRST, {"mask.safetensors": MASK, "curve.jsonl": b"first"})
    store.commit(LATER, {"mask.safetensors": MASK, "curve.jsonl": b"later"})


def main(base: Path) -> None:
    """Leaves `base/<number of the step>/` for every step there is."""
    for last in range(10_000):
        root = base / str(last)
        shutil.copytree(base / "before", root)
        child = os.fork()
        if child == 0:
            commit_until(root, last)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))


main(Path(sys.argv[1]))
