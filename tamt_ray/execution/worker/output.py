"""All that a process writes, kept in a file of bounded size; fetched where its worker was lost."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tamt_ray.execution.scheduler.messages import LeftLog
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.store.lease import Fence
from tamt_ray.store.logs import LOG_BYTES
from tamt_ray.store.store import Store
from tamt_ray.values.scratch import LOGS, lock


class Capture:
    """Standard output, standard error and logging go to `path` within the `with` block.

    They are diverted where the operating system sees them, so that what C code prints is kept too,
    and what a killed process wrote stays on its host.
    """

    def __init__(self) -> None:
        self._lock, name = tempfile.mkstemp(prefix=LOGS, suffix=".txt")
        # Another process may look whether it is in use.
        lock(self._lock, wait=True)
        self.path = Path(name)
        self._handler = logging.StreamHandler(sys.stderr)
        self._handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
        )

    def __enter__(self) -> Self:
        _flush()
        self._before = os.dup(1), os.dup(2)
        # Appending finds the end by itself, also after `trim`.
        ours = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.dup2(ours, 1)
        os.dup2(ours, 2)
        os.close(ours)
        self._handler.stream = sys.stderr
        logging.getLogger().addHandler(self._handler)
        return self

    def __exit__(self, *_error: object) -> None:
        logging.getLogger().removeHandler(self._handler)
        _flush()
        for ours, before in zip((1, 2), self._before, strict=True):
            os.dup2(before, ours)
            os.close(before)

    def trim(self) -> None:
        """Drop the older part once there is twice as much as is kept."""
        if self.path.stat().st_size > 2 * LOG_BYTES:
            end = tail(self.path)
            with self.path.open("r+b") as stream:
                stream.truncate(0)
            with self.path.open("ab") as stream:
                stream.write(end)

    def so_far(self) -> bytes:
        """Return the end of what was written until now."""
        return tail(self.path)

    def take(self) -> bytes:
        """Return the end of what was written; the file is gone then."""
        _flush()
        found = tail(self.path)
        self.drop()
        return found

    def drop(self) -> None:
        """Delete the file."""
        self.path.unlink()
        os.close(self._lock)


def tail(path: Path) -> bytes:
    """Return the last `LOG_BYTES` of a file, from the beginning of a line where something is left
    out."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - LOG_BYTES))
        found = stream.read(LOG_BYTES)
    if size <= LOG_BYTES:
        return found
    return b"[...]\n" + found.partition(b"\n")[2]


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def rescue(store: Store, logs: Iterable[LeftLog]) -> None:
    """Start the copy of logs to the store on their own nodes; logs of lost nodes are lost.

    Nothing waits for it.
    """
    for log in logs:
        there: Any = NodeAffinitySchedulingStrategy(log.node, soft=False)
        fetch = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_fetch)
        fetch.remote(store.uri, store.fence, log, Inherited.of_this_process())


def _fetch(uri: str, fence: Fence | None, log: LeftLog, inherited: Inherited) -> None:
    inherited.take()
    path = Path(log.path)
    Store(uri, fence).write(log.to, tail(path) + b"# the worker was lost here\n")
    path.unlink()
