"""SIGINT and SIGTERM end a run alike."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from tamt_ray.execution.broken import BrokenOffError


class Signals:
    """What was caught so far. Nothing is raised inside a handler: it would land in Ray's C code."""

    def __init__(self) -> None:
        self.caught = False
        self._number = 0

    def catch(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; the next one has its usual effect at once."""
        self.caught = True
        self._number = number
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)

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
    """Within it both signals are caught. Ray installs handlers of its own when it starts, so this
    comes after that."""
    signals = Signals()
    before = {n: signal.signal(n, signals.catch) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
