"""SIGINT, SIGTERM and SIGHUP end a run alike."""

import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from tamt_ray.execution.interruption import BrokenOffError

_SAME = 1.0


class Signals:
    """What was caught so far. Nothing is raised inside a handler: it would land in Ray's C code."""

    def __init__(self) -> None:
        self.caught = False
        self._number = 0
        self._since = 0.0

    def catch(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; one more than a second later has its usual effect at once. A
        terminal, or a job system, sends what the supervisor passes on here, too."""
        if not self.caught:
            self.caught, self._number, self._since = True, number, time.monotonic()
        elif time.monotonic() - self._since > _SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def raise_if_caught(self) -> None:
        """Raises BrokenOffError."""
        if self.caught:
            raise self.broken_off()

    def broken_off(self) -> BrokenOffError:
        """The end of the run, with the shell's code for the signal."""
        return BrokenOffError(
            128 + self._number, "interrupted; what is done is kept, the same command goes on"
        )


@contextmanager
def caught_signals() -> Generator[Signals]:
    """Within it they are caught, but for those that are ignored, as SIGHUP is under `nohup`. Ray
    installs handlers of its own when it starts, so this comes after that."""
    signals = Signals()
    before = {
        number: signal.signal(number, signals.catch)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
