"""The process that a user starts. It outlives the driver and reports how the driver ended.

Ray ends a driver inside C++ when its head is gone, and the system kills one that takes too much
memory; neither leaves time for a word. Hence the driver is a child of a process that does nothing
but wait for it.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tamt_ray.values.scratch import sweep

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME = 1.0
"""Seconds within which a second signal is the first one again: a terminal and some job systems send
it to all processes, and this one passes it on."""
_PATIENCE = 10.0
"""Seconds for killed processes to be gone."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_OWN_CODES = (0, 1, 2, 3)

_to_supervisor: int | None = None
"""File descriptor on which the driver announces that it ends by itself."""


def supervised(act: Callable[[], None], command: str) -> NoReturn:
    """Run `act` in a child process and end with its exit code.

    Where the child dies without saying that it ends, says what happened and the `command` that goes
    on, and ends with 3, or after a signal with 128 + its number. No process and no temporary
    folder is left behind.
    """
    watched = {signal.SIGCHLD, *(n for n in _ENDING if signal.getsignal(n) is not signal.SIG_IGN)}
    from_driver, to_supervisor = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    # Processes that the driver leaves behind become children of this one.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    supervisor, driver = os.getpid(), os.fork()
    if driver == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(from_driver)
        _drive(act, to_supervisor)
    os.close(to_supervisor)
    sweep()
    status, asked = _wait(driver, watched)
    _end_descendants()
    sweep()
    said = os.read(from_driver, 8)
    code = int(said) if said else None
    if code is None or (asked and code not in (*_OWN_CODES, 128 + asked)):
        code = 128 + asked if asked else 3
        what = "interrupted" if asked else _cause(status)
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h")  # a live table hides the cursor
        sys.stderr.write(
            f"{what}; what is done is kept in the store, the same command goes on:\n{command}\n"
        )
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """End this process at once: no exit handler runs, no thread is waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    _announce(code)
    os._exit(code)


def descendants(root: int) -> list[int]:
    """Ids of the processes that descend from one, parents first; none where there is no `/proc`."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold anything; what follows it has a fixed form.
            parent = int(stat.read_bytes().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [*children.get(root, ())]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _drive(act: Callable[[], None], to_supervisor: int) -> NoReturn:
    global _to_supervisor
    _to_supervisor = to_supervisor
    code = 1
    try:
        act()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        _announce(code)
    sys.exit()


def _announce(code: int) -> None:
    if _to_supervisor is not None:
        os.write(_to_supervisor, str(code).encode())


def _wait(driver: int, watched: set[signal.Signals]) -> tuple[int, int]:
    """Return the driver's wait status, and the last signal that ended it or was passed on, or 0."""
    asked, since = 0, 0.0
    while (status := _reap(driver)) is None:
        number = signal.sigwait(watched)
        if number == signal.SIGCHLD:
            continue
        if not asked:
            asked, since = number, time.monotonic()
            os.kill(driver, number)
        elif time.monotonic() - since > _SAME:
            asked = number
            os.kill(driver, signal.SIGKILL)
    return status, asked


def _reap(driver: int) -> int | None:
    """Reap ended children; the driver's wait status if it is one of them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in {0, driver}:
            return status if pid else None


def _end_descendants() -> None:
    """Kill what the driver left: some processes of Ray notice only after a minute."""
    until = time.monotonic() + _PATIENCE
    while (left := descendants(os.getpid())) and time.monotonic() < until:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _cause(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        guess = ", perhaps because memory ran out" if number == signal.SIGKILL else ""
        return f"the driver was killed by {number.name}{guess}"
    code = os.waitstatus_to_exitcode(status)
    return f"Ray ended the driver (exit code {code}), as it does when its head is gone"


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere a killed driver's processes end by themselves."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
