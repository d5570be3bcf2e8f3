"""Asking the aggregator of a sweep that runs in another process."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from tamt_ray.execution.activity import LiveStatus
from tamt_ray.execution.actors import NAMESPACE
from tamt_ray.execution.cluster.address import known_address
from tamt_ray.execution.cluster.connection import ClusterError, visiting

_PATIENCE = 20.0
"""Seconds within which an aggregator that is being started anew answers again."""


class UnreachableError(RuntimeError):
    """The aggregator cannot be asked; the message says why."""


@contextmanager
def observed(name: str, address: str | None) -> Generator[Callable[[], LiveStatus | None]]:
    """Return a function that asks the aggregator of that name, and returns None until it is open.

    Without an `address` the Ray of this machine that has the aggregator is looked for. Both raise
    UnreachableError.
    """
    where = address or known_address(name)
    if where is None:
        raise UnreachableError(
            "it is still starting, or no local run of this user and TMPDIR on this machine; on a "
            "node of its cluster add --address auto"
        )
    try:
        with visiting(where):
            yield lambda: _query(name, sure=address is None)
    except ClusterError as error:
        raise UnreachableError(str(error)) from error


def _query(name: str, *, sure: bool) -> LiveStatus | None:
    """`sure`: this Ray is the one of that run, so that an aggregator is still to come."""
    try:
        answer: Any = ray.get(ray.get_actor(name, NAMESPACE).status.remote(), timeout=_PATIENCE)
    except ValueError as error:
        if sure:
            return None
        raise UnreachableError("its Ray has no aggregator of this run") from error
    except GetTimeoutError as error:
        raise UnreachableError(f"no answer within {_PATIENCE:g} s") from error
    except RayError as error:
        raise UnreachableError(f"its Ray does not answer: {error}") from error
    return answer
