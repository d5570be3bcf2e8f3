"""Connecting to Ray: a cluster where one is named, else a local one for this sweep only."""

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import worker as ray_worker
from ray._private.authentication.authentication_token_generator import (
    generate_new_authentication_token,
)
from ray._private.services import resolve_ip_for_localhost
from ray._private.state import state
from ray._raylet import AuthenticationTokenLoader  # pyright: ignore[reportAttributeAccessIssue]
from ray.exceptions import RayError

from tamt_ray.data.cache import TYPED_IN
from tamt_ray.execution.actors import NAMESPACE
from tamt_ray.execution.cluster.address import keeps_token, write_address
from tamt_ray.execution.cluster.head import Announce, watch_head
from tamt_ray.execution.interruption import BrokenOffError
from tamt_ray.execution.scheduler.placement import Node
from tamt_ray.store.trouble import StoreError
from tamt_ray.values.replacement import replacing
from tamt_ray.values.scratch import Scratch, base_of_ray, lock

_PASSED_ON = ("TAMT_MIRROR", "TAMT_CACHE", TYPED_IN, "HF_HUB_OFFLINE", "HF_HOME")
"""Variables on sources that every node takes over from the driver. Ray logs their values:
credentials go another way, see `Inherited`."""

# Ray lets a process that asked for no GPU see all of its node's; CUDA would take room on one.
_NO_GPU_UNASKED = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}


_SILENT = (
    "no Ray cluster answers at {address}: {error}; check `ray status`, the address and the token "
    "(RAY_AUTH_TOKEN_PATH)"
)


_NO_START = (
    "a local Ray does not start: {error}; close what uses up the memory or the CPUs of this "
    "machine, and type the same command again"
)


_NO_TOKEN = (
    "Ray's token cannot be kept private: {error}; set HOME to a directory of yours, or "
    "RAY_AUTH_TOKEN_PATH to a file with a token"
)


_LOOK = 0.5
"""Seconds between two looks at the servers of a local Ray."""


class ClusterError(RuntimeError):
    """The cluster cannot be reached."""


class Nodes:
    """The nodes of the cluster as last looked at."""

    def __init__(self) -> None:
        self.draining: frozenset[str] = frozenset()
        """Ids of nodes that will be taken away."""
        self.resources: list[Node] = []
        """Resources of the nodes that stay."""
        self.refresh()

    def refresh(self) -> bool:
        """Look again; whether anything changed."""
        before = self.draining, self.resources
        # The notice of a preemption: Ray Train itself reads it here, there is no public place.
        self.draining = frozenset(state.get_draining_nodes())
        self.resources = [
            node["Resources"]
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] not in self.draining
        ]
        return before != (self.draining, self.resources)


@contextmanager
def connected(
    address: str | None, name: str | None = None, announce: Announce | None = None
) -> Generator[Nodes]:
    """Yield the nodes of the cluster while connected; shut down a local Ray at the end.

    Other processes of this user find a local Ray by `name` (`address.known_address`). `announce` is
    called when the head of a given cluster falls silent, and when it is back.

    A local Ray listens on loopback only, asks for Ray's token, has no dashboard, and its files are
    in a folder that no other user can enter.
    """
    # Tune and Train give each worker a directory of its own, and other nodes know no other.
    os.environ[TYPED_IN] = os.getcwd()
    try:
        with _connected(address, name, announce) as nodes:
            yield nodes
    finally:
        del os.environ[TYPED_IN]


@contextmanager
def _connected(
    address: str | None, name: str | None, announce: Announce | None
) -> Generator[Nodes]:
    os.environ.update(_NO_GPU_UNASKED)
    # A job that was submitted with the same variables is not refused for it.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    with contextlib.ExitStack() as ending:
        if address is None:
            folder = Scratch("ray", base_of_ray())
            ending.callback(folder.remove)
            _start(folder.path)
            ending.callback(ray.shutdown)
            ending.callback(_end_with_head())
            if name:
                write_address(folder.path, name, ray.get_runtime_context().gcs_address)
        else:
            _join(address)
            ending.callback(ray.shutdown)
            if announce:
                ending.enter_context(watch_head(ray.get_runtime_context().gcs_address, announce))
        with _without_reports():
            try:
                yield Nodes()
            except (BrokenOffError, StoreError):
                # Threads of Tune and Train are still at work, and Ray ends a process with a code of
                # its own that uses it after its end. The process ends by itself soon, and its Ray
                # with it.
                ending.pop_all()
                raise


@contextmanager
def _without_reports() -> Generator[None]:
    """Drop Ray's long reports on workers and nodes, which go to standard output, where results go.

    The board's events say it in a line, Ray's own logs keep all of it.
    """
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


_COMMON: Mapping[str, Any] = {
    "namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR",
}  # fmt: skip


def _start(folder: Path) -> None:
    """Start a local Ray below a private folder; the folders that Ray creates are open to all."""
    try:
        close_token()
    except (OSError, RuntimeError) as error:
        # RuntimeError: nobody knows this user's home directory.
        raise ClusterError(_NO_TOKEN.format(error=error)) from error
    try:
        ray.init(address="local", include_dashboard=False, _temp_dir=str(folder / "ray"), **_COMMON)
    except Exception as error:
        # Where its processes do not come up in time, Ray raises a plain Exception.
        raise ClusterError(_NO_START.format(error=error)) from error


def _end_with_head() -> Callable[[], None]:
    """End this process as soon as one of the two servers of its local Ray dies.

    Ray itself does so inside C++, up to a minute later. Returns a function that ends the watch,
    to be called before Ray is shut down.
    """
    servers: Any = ray_worker._global_node.all_processes  # pyright: ignore[reportAttributeAccessIssue]
    processes = [servers[kind][0].process for kind in ("raylet", "gcs_server")]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK):
            if any(process.poll() is not None for process in processes) and not over.is_set():
                os._exit(1)

    threading.Thread(target=watch, name="tamt-head", daemon=True).start()
    return over.set


@contextmanager
def visiting(address: str) -> Generator[None]:
    """Connected to a Ray that runs, without any claim to it. Raises ClusterError."""
    _join(address)
    try:
        with _without_reports():
            yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    _check_answers(address)
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    passed |= _NO_GPU_UNASKED
    try:
        ray.init(address=address, runtime_env={"env_vars": passed}, **_COMMON)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        # RayError: the cluster asks for a token, and there is none.
        raise ClusterError(_SILENT.format(address=address, error=error)) from error


def _check_answers(address: str) -> None:
    """Check that the address answers: Ray itself tries for a quarter of an hour before it fails.

    In place of 127.0.0.1 Ray takes this machine's address on its network.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    host = host.strip("[]")
    taken = resolve_ip_for_localhost(host) if host else host
    try:
        socket.create_connection((taken, int(port)), timeout=10).close()
    except OSError as error:
        why = str(error)
        if taken != host:
            why += (
                f" at {taken}, which Ray takes for {host}; give the address that `ray start` "
                "printed, or set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 for a head on loopback only"
            )
        raise ClusterError(_SILENT.format(address=address, error=why)) from error


def close_token() -> None:
    """Create the token of a local Ray where there is none, and let only its owner read it.

    Ray itself creates it readable by every user. A token that the environment gives stays as it is.
    Raises OSError.
    """
    if not keeps_token():
        return
    token = Path.home() / ".ray" / "auth_token"
    loader = AuthenticationTokenLoader.instance()
    if not loader.has_token(ignore_auth_mode=True):
        _create(token)
        loader.reset_cache()
    for path, mode in ((token.parent, 0o700), (token, 0o600)):
        status = path.stat()
        # Only what is wrong is changed: home may be read-only, or the folder another's.
        if stat.S_IMODE(status.st_mode) & ~mode and (path == token or status.st_uid == os.getuid()):
            path.chmod(mode)


def _create(token: Path) -> None:
    """Write a new token; that of a faster process stays."""
    token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(token.parent, os.O_RDONLY)
    try:
        lock(folder, wait=True)
        if not token.exists() or not token.stat().st_size:
            with replacing(token) as temporary:
                temporary.touch(0o600, exist_ok=False)
                temporary.write_text(generate_new_authentication_token())
    finally:
        os.close(folder)
