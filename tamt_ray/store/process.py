"""A process of this machine, told from a later one with the same number."""

import os
from pathlib import Path

from tamt_ray.values.base import Frozen

_PROC = Path("/proc")


class ProcessId(Frozen):
    """Numbers that no two processes share, whatever containers and restarts there were."""

    boot: str
    """The kernel's name for its own run."""
    namespace: str
    """Within it process numbers are unique."""
    pid: int
    born: int
    """Clock ticks from the boot to the start of the process."""

    def is_gone(self) -> bool:
        """Whether it surely runs no more; False where that cannot be seen from here."""
        me = this_process()
        if me is None or (me.boot, me.namespace) != (self.boot, self.namespace):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            # Somebody else's, so it is there; /proc may still tell that it is another one.
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
    """The letter of a process's state and its start; None where /proc does not show it."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may itself hold brackets and spaces.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
