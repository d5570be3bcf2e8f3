"""SIGINT and SIGTERM end a run alike."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The user or the system asked the run to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


@contextmanager
def interruptible() -> Generator[None]:
    """Within it both signals raise Interrupted in the main thread.

    Ray installs handlers of its own when it starts, so this comes after that.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
