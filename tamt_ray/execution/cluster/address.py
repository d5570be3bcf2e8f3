"""Address of a local Ray, for another process of the same user that looks for a running sweep.

A local Ray lies in a private folder that is locked while it is in use. Its address is in a file of
that folder, under the name of the sweep's aggregator. A folder that others could have written, one
that no process uses any more, and an address beyond this machine are passed over: whoever gets
connected to gets Ray's token.
"""

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path

from tamt_ray.values.scratch import base_of_ray, lock

_FILE = "sweep.json"
_LONGEST = 10_000
"""Bytes of the file."""


def live_name(sweep: str, store: str, epoch: int) -> str:
    """Return the name of the aggregator of a sweep, by its store and the epoch of its lease."""
    place = hashlib.sha256(store.encode()).hexdigest()[:8]
    return f"tamt-{sweep}-{place}-{epoch}-aggregator"


def write_address(folder: Path, name: str, address: str) -> None:
    """Write the address of the Ray in a private folder."""
    (folder / _FILE).write_text(json.dumps({"name": name, "address": address}))


def known_address(name: str) -> str | None:
    """Return the address of the local Ray in which the aggregator of that name runs, if there is
    one."""
    for path in base_of_ray().glob("tamt-ray-*"):
        try:
            found = json.loads(_read(path))
            if found["name"] == name and found["address"].startswith("127.0.0.1:"):
                return found["address"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Another user's, a dead one's, or one that is just being made.
            continue
    return None


def _read(path: Path) -> bytes:
    """Return the file in a folder that is this user's alone and in use. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(folder)
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(path)
        with contextlib.suppress(BlockingIOError):
            lock(folder)
            raise FileNotFoundError(path)
        file = os.open(_FILE, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        with open(file, "rb") as stream:
            return stream.read(_LONGEST)
    finally:
        os.close(folder)


def listen_on_loopback() -> None:
    """Make a Ray started by this process use 127.0.0.1 and nothing else.

    Ray has this as a default on some systems only, behind a variable that it reads when it is
    imported: call this before.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def keeps_token() -> bool:
    """Return whether Ray keeps its token in the home directory, as it does by default."""
    given = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    return not given and os.environ.get("RAY_AUTH_MODE", "token") == "token"


def unwritable() -> str | None:
    """Return a message about a place that a local Ray cannot do without; None where all is well."""
    base = base_of_ray()
    if not os.access(base, os.W_OK | os.X_OK):
        return f"{base} cannot be written; set RAY_TMPDIR to a directory of yours"
    if not keeps_token():
        return None
    remedy = "set HOME to a directory of yours, or RAY_AUTH_TOKEN_PATH to a file with a token"
    try:
        token = Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        return f"this user has no home directory, in which Ray keeps its token; {remedy}"
    # A folder that may not be looked into is as good as empty, and its own rights decide.
    place = next(path for path in (token, *token.parents) if os.path.exists(path))
    mine = place != token or place.stat().st_uid == os.getuid()
    if not mine or not os.access(place, os.R_OK if place == token else os.W_OK | os.X_OK):
        return f"Ray keeps its token in {token}, and {place} is not yours to use; {remedy}"
    return None


def visit_loopback() -> None:
    """Make this process able to join the local Ray of another process: it listens on loopback and
    asks for its user's token. Call this before Ray is imported.
    """
    listen_on_loopback()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
