"""A limit for calls that have none."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from tamt_ray.tracking.trouble import TrackingError

_PATIENCE = 120.0
"""Seconds for one unit; each of its requests has a shorter limit between two bytes."""
_Answer = TypeVar("_Answer")


def answered(act: Callable[[], _Answer]) -> _Answer:
    """Return the value of `act`.

    Raises TrackingError where that takes too long, besides the errors of `act`: MLflow's own
    time-out begins anew with every byte that a server sends.
    """
    outcome: Future[_Answer] = Future()

    def run() -> None:
        try:
            outcome.set_result(act())
        except BaseException as error:  # noqa: BLE001 - it is raised below
            outcome.set_exception(error)

    # A daemon: the process ends without waiting for it.
    threading.Thread(target=run, name="tamt-mlflow-call", daemon=True).start()
    try:
        return outcome.result(_PATIENCE)
    except TimeoutError as error:
        if outcome.done():
            raise
        raise TrackingError(f"no whole answer within {_PATIENCE:g} s") from error
