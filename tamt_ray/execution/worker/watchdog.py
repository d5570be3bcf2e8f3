"""The end of a process that stands still, where nobody else watches it."""

import faulthandler
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def watched_over(patience: float) -> Generator[Callable[[int, int], None]]:
    """Ends this process, its stacks written to stderr, once the body stood still for `patience`
    seconds: neither over nor any call of what is given here.

    A thread of C counts the time: code that never gives Python's lock back does not stop it.
    """

    def alive(_step: int = 0, _steps: int = 0) -> None:
        faulthandler.dump_traceback_later(patience, exit=True)

    alive()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()
