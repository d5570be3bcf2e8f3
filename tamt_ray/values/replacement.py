"""Atomic writing: a file or folder appears whole or not at all; killed writers leave nothing."""

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tamt_ray.values.process import this_process

_WRITER = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}\.tmp")
"""Name of a temporary file of ours, with machine, process number and birth of its writer."""
_LONGEST_WRITE = 3600.0
"""Seconds after which the writer of a temporary file counts as dead where it cannot be seen."""


@contextmanager
def replacing(target: Path) -> Generator[Path]:
    """Yield a free path beside `target` for a file or folder; if the body succeeds, rename it.

    An older file or folder at `target` is replaced. If the body raises, nothing remains. A file is
    as durable as the body makes it; the rename is. Temporary files beside it whose writers are gone
    are removed first.
    """
    make_directory(target.parent)
    _remove_litter(target.parent)
    temporary = _temporary(target)
    try:
        yield temporary
        if temporary.is_dir():
            remove(target)
        temporary.replace(target)
    except BaseException:
        # Interrupts too must not leave litter; the error goes on its way.
        remove(temporary)
        raise
    sync_directory(target.parent)


def remove(path: Path) -> None:
    """Delete a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Create a folder and its parents such that they outlive a power cut."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename durable; only POSIX needs and allows it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(target: Path) -> Path:
    """Return a new path beside `target` whose name tells which process writes it."""
    me = this_process()
    writer = f"{me.machine}-{me.pid}-{me.born}" if me else "00000000-0-0"
    return target.with_name(f".{target.name}.{writer}-{uuid.uuid4().hex[:8]}.tmp")


def _remove_litter(folder: Path) -> None:
    """Remove temporary files of ours whose writers are gone.

    A process of another machine cannot be seen; its files are removed once they are old. The folder
    may be a user's, with files of others.
    """
    me = this_process()
    litter: list[tuple[Path, re.Match[str]]] = []
    with suppress(OSError):
        litter += [(path, m) for path in folder.iterdir() if (m := _WRITER.fullmatch(path.name))]
    for path, writer in litter:
        # Another process may remove it first, and in some folders only its owner may.
        with suppress(OSError):
            if me and writer[1] == me.machine:
                process = me.model_copy(update={"pid": int(writer[2]), "born": int(writer[3])})
                gone = process.is_gone()
            else:
                gone = _now(folder) - path.lstat().st_mtime > _LONGEST_WRITE
            if gone:
                remove(path)


def _now(folder: Path) -> float:
    """Return the time by the file system's own clock. Raises OSError."""
    with tempfile.TemporaryFile(dir=folder) as stream:
        return os.fstat(stream.fileno()).st_mtime
