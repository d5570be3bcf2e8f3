"""The local cache of downloads and derived files; losing it costs time and nothing else."""

import fcntl
import functools
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tamt_ray.values.base import nearest


class SourceError(RuntimeError):
    """A source cannot be read; the message is complete, names the source and what to do next."""


TYPED_IN = "TAMT_TYPED_IN"
"""Variable of workers: the directory that the command was typed in. Their own is Ray's choice."""


def local_path(path: str) -> Path:
    """Return a path as absolute, relative to the directory that the command was typed in."""
    return Path(os.environ.get(TYPED_IN, "")).absolute() / Path(path).expanduser()


def local_files(path: str) -> tuple[Path, ...]:
    """Return the file of that path, or in the order of their names those that its `*` stand for;
    the path itself where there are none."""
    place = local_path(path)
    found = sorted(place.parent.glob(place.name)) if "*" in place.name else []
    return tuple(found) or (place,)


def missing(path: Path, kind: str) -> str:
    """Return the message about a path that is no such `kind`, with the closest name beside it."""
    here = "; a relative path begins at the directory that the command is typed in"
    if path.parent.is_dir():
        close = nearest(path.name, sorted(each.name for each in path.parent.iterdir())[:_LISTED])
        here = close if "did you mean" in close else here
    return f"no {kind} {path}{here}"


_LISTED = 1000


def cache_dir() -> Path:
    """`$TAMT_CACHE`, or `$XDG_CACHE_HOME/tamt_ray`, or `~/.cache/tamt_ray`; need not exist yet."""
    if own := os.environ.get("TAMT_CACHE"):
        return local_path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return local_path(shared) / "tamt_ray"
    return Path.home() / ".cache" / "tamt_ray"


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hex; computed once a process while the file is unchanged."""
    status = path.stat()
    return _file_digest(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, _stamp: tuple[int, int, int]) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_digest(*parts: str) -> str:
    """Return a sha256 in hex over several strings; ("a", "bc") and ("ab", "c") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@contextmanager
def locked(target: Path) -> Generator[None, None, None]:
    """Hold the only lock on `target` among the processes of this machine.

    The lock is advice that spares double work: what is published is whole without it, too.
    Raises SourceError where the cache cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stream = target.with_name(f".{target.name}.lock").open("wb")
    except OSError as error:
        raise SourceError(
            f"the cache cannot be written: {error}; set TAMT_CACHE to a directory of your own"
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
