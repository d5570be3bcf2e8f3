"""A watch over the head of a given cluster: Ray itself says nothing for a minute."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Generator

from tamt_ray.execution.actors import PROBE
from tamt_ray.execution.scheduler.messages import HeadBack, HeadSilent
from tamt_ray.store.trouble import StoreError

Announce = Callable[[HeadSilent | HeadBack], None]

_PAUSE = 2.0
"""Seconds between two probes."""
_PATIENCE = 5.0
"""Seconds without an answer after which the head counts as silent."""


@contextlib.contextmanager
def watch_head(
    address: str, announce: Announce, pause: float = _PAUSE, patience: float = _PATIENCE
) -> Generator[None]:
    """Within it, say when the head at `host:port` falls silent, and when it answers again.

    A thread says so: meanwhile the main thread waits for an answer of Ray.
    """
    host, _, port = address.rpartition(":")
    place, over = (host.strip("[]"), int(port)), threading.Event()

    def watch() -> None:
        last, silent = time.monotonic(), False
        while not over.wait(pause):
            with contextlib.suppress(OSError):
                socket.create_connection(place, timeout=PROBE).close()
                last = time.monotonic()
            if silent == (time.monotonic() - last > patience) or over.is_set():
                continue
            silent = not silent
            # A lease that was lost meanwhile ends the run elsewhere.
            with contextlib.suppress(StoreError):
                announce(HeadSilent(address) if silent else HeadBack(address))

    threading.Thread(target=watch, name="tamt-head", daemon=True).start()
    try:
        yield
    finally:
        over.set()
