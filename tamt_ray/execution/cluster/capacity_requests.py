"""Requests of drivers to a cluster's autoscaler, which end with their driver.

Ray keeps the last request until somebody makes another one, so that of a driver that was killed the
machines would stay, and cost, for ever. An actor that outlives the drivers asks for them instead.
"""

import os
import threading
import time
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

Bundle = dict[str, float]
_PATIENCE = 60.0
"""Seconds without a heartbeat after which a driver counts as gone."""
_NAME = "autoscaler-requests"


class Requests:
    """An actor, one a cluster: the sum of what its drivers want."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._wants: dict[str, tuple[list[Bundle], float]] = {}
        """Bundles and time of the last call, by driver."""
        self._asked: list[Bundle] | None = None
        self._last_call = time.monotonic()
        self._lock = threading.Lock()
        threading.Thread(target=self._expire, name="tamt-requests", daemon=True).start()

    def ask(self, driver: str, bundles: list[Bundle]) -> None:
        """Replace this driver's request, which lapses without heartbeats.

        Drivers of other versions on the cluster call it by this name.
        """
        with self._lock:
            self._last_call = time.monotonic()
            self._wants[driver] = bundles, self._last_call
            self._forward()

    def _expire(self) -> None:
        while True:
            time.sleep(self._patience / 10)
            with self._lock:
                since = time.monotonic() - self._patience
                self._wants = {
                    driver: want for driver, want in self._wants.items() if want[1] > since
                }
                self._forward()
                if self._last_call < since:
                    os._exit(0)

    def _forward(self) -> None:
        bundles = [bundle for wants, _ in self._wants.values() for bundle in wants]
        if bundles != self._asked:
            request_resources(bundles=bundles)
            self._asked = bundles


def requests_of_cluster() -> Any:
    """Return the actor of the cluster that this process is connected to, started if need be."""
    return ray.remote(Requests).options(
        name=_NAME, get_if_exists=True, lifetime="detached", num_cpus=0,
        resources={"node:__internal_head__": 0.001},
    ).remote()  # fmt: skip
