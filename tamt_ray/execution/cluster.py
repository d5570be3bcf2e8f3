"""Connecting to Ray: a cluster where one is named, else a local one for this sweep only."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import ray

from tamt_ray.execution.board_actor import NAMESPACE
from tamt_ray.execution.placement import Node

_PASSED_ON = ("TAMT_MIRROR", "TAMT_CACHE", "HF_HUB_OFFLINE", "HF_HOME", "HF_TOKEN")


_SILENT = (
    "no Ray cluster answers at {address}: {error}; check `ray status`, the address and the token "
    "(RAY_AUTH_TOKEN_PATH)"
)


class ClusterError(RuntimeError):
    """The cluster cannot be reached."""


@contextmanager
def connected(address: str | None) -> Generator[list[Node]]:
    """The nodes of the cluster while connected; a local Ray is shut down at the end.

    A local Ray listens on loopback only, asks for Ray's token, and has no dashboard.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    common: Any = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        ray.init(address="local", include_dashboard=False, **common)
    else:
        _check_answers(address)
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            ray.init(address=address, runtime_env={"env_vars": passed}, **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ClusterError(_SILENT.format(address=address, error=error)) from error
    try:
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself tries for minutes before it says that nobody is there."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(_SILENT.format(address=address, error=error)) from error
