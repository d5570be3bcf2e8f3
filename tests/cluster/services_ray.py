"""Real Ray nodes of this machine, each started by the command a user would type."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def with_token(folder: Path) -> dict[str, str]:
    """An environment in which Ray demands a token, found in a 0600 file of the test's own."""
    file = folder / "auth_token"
    file.touch(mode=0o600)
    file.write_text("0123456789abcdef" * 4)
    return environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(file))


def environment(**more: str) -> dict[str, str]:
    """This process's, less what it says of Ray and the cache, with its own Python first on PATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TAMT_"))}
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**kept, "PATH": binaries, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", **more}


@contextmanager
def started(
    command: str, folder: Path, env: dict[str, str], hidden: Sequence[Path] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A node started by `ray start …`, until the block ends, and no process of it after that.

    Directories that are `hidden` are empty ones of the node's own: it has its own mounts.
    """
    # Two of Ray's ports are fixed, and another Ray of this machine may have them.
    ports = ["dashboard-agent-listen-port", *(["ray-client-server-port"] * ("--head" in command))]
    command += "".join(f" --{name}={free_port()}" for name in ports)
    mounts = "".join(f"mount -t tmpfs none '{path}' && " for path in hidden)
    apart = ["unshare", "--mount", "--propagation", "private"] if hidden else []
    said = folder / f"ray-{time.monotonic_ns()}.txt"
    with said.open("w") as stream:
        node = subprocess.Popen(
            [*apart, "sh", "-c", f"{mounts}exec {command} --block"],
            env=env, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while "Ray runtime started" not in said.read_text():
            assert node.poll() is None, said.read_text()
            assert time.monotonic() < until, said.read_text()
            time.sleep(0.2)
        yield node
    finally:
        # `ray start --block` takes its own processes with it.
        node.send_signal(signal.SIGTERM)
        node.wait(60)


def wait_for(true: Callable[[], bool], seconds: float) -> None:
    """Raises AssertionError where it does not become true."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.3)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


def listening(port: int) -> bool:
    """Whether something on loopback takes connections."""
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0
