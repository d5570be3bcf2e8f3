"""Fetching what lost workers wrote."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tamt_ray.execution.scheduler.messages import LeftLog
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.execution.worker.output import tail
from tamt_ray.store.lease import Fence
from tamt_ray.store.store import Store


def rescue(store: Store, logs: Iterable[LeftLog]) -> None:
    """Have them written to the store by their own nodes; where those are gone, so are the logs.

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
