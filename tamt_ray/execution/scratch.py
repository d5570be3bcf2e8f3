"""Folders in the temporary directory that no other user can enter."""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType

_ATTEMPTS = 50
"""Processes that were told to end may still write for a moment."""


class Scratch:
    """A new folder `tamt-<purpose>-…` in `base`, by default the temporary directory.

    A context manager that gives its path and removes it. It is locked while this process lives.
    """

    def __init__(self, purpose: str, base: Path | None = None) -> None:
        # It gets its name once it is locked.
        made = Path(tempfile.mkdtemp(prefix=".tamt-", dir=base))
        self._lock = os.open(made, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = made.rename(made.with_name(f"tamt-{purpose}-{made.name[6:]}"))

    def remove(self) -> None:
        """Delete it with all that is in it."""
        for _ in range(_ATTEMPTS):
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break
            time.sleep(0.1)
        os.close(self._lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()
