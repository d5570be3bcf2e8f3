"""A process identity that survives the reuse of process numbers."""

import hashlib
import os
from pathlib import Path

from tamt_ray.values.base import Frozen

_PROC = Path("/proc")


class ProcessId(Frozen):
    """A globally unique process identity, across containers and restarts."""

    boot: str
    """The kernel's boot id."""
    namespace: str
    """The PID namespace."""
    pid: int
    born: int
    """Clock ticks from the boot to the start of the process."""

    @property
    def machine(self) -> str:
        """Eight characters that say where its number counts."""
        return hashlib.sha256(f"{self.boot} {self.namespace}".encode()).hexdigest()[:8]

    def is_gone(self) -> bool:
        """Return whether it has certainly ended; False if this process cannot see it."""
        me = this_process()
        if me is None or (me.boot, me.namespace) != (self.boot, self.namespace):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            # Another user's process has that number; /proc shows whether it is this one.
            pass
        found = _state(self.pid)
        return found is not None and (found[0] in "ZX" or found[1] != self.born)


def this_process() -> ProcessId | None:
    """None on systems without `/proc`."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return None
    found = _state(os.getpid())
    return (
        ProcessId(boot=boot, namespace=namespace, pid=os.getpid(), born=found[1]) if found else None
    )


def _state(pid: int) -> tuple[str, int] | None:
    """Return the letter of a process's state and its start; None where /proc does not show it."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may itself hold brackets and spaces.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
