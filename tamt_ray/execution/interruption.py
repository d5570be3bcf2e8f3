"""The early end of a run: by a signal, or by an error in a thread that drives Ray."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

_SAME = 1.0


class BrokenOffError(RuntimeError):
    """A run ended with work left: interrupted, or Ray gave up. What is done is in the store."""

    def __init__(self, code: int, message: str) -> None:
        """`code` is the exit code."""
        super().__init__(message)
        self.code = code


def gave_up(error: Exception) -> BrokenOffError:
    """Return the end of a run that Ray cannot go on with; the beginning of its words says
    enough."""
    words = " ".join(str(error).split()) or type(error).__name__
    return BrokenOffError(
        1, f"Ray gave up: {words[:300]}; what is done is kept, the same command goes on"
    )


class Signals:
    """The signals caught so far. A handler raises nothing: it would land in Ray's C code."""

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
        """Return the end of the run, with the shell's code for the signal."""
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


class Lanes:
    """Pieces of work that run beside each other and beside the main thread."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []

    def start(self, work: Callable[[], None], after: Callable[[], None] = lambda: None) -> None:
        """Run `work` beside the others; `after` whatever happens."""

        def lane() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - handed to the main thread, which raises it
                self._errors.append(error)
            finally:
                after()

        thread = threading.Thread(target=lane, daemon=True)
        thread.start()
        self._threads.append(thread)

    def running(self) -> bool:
        """Return whether any lane is still at work."""
        return any(thread.is_alive() for thread in self._threads)

    def failed(self) -> bool:
        """Return whether any lane ended in an error."""
        return bool(self._errors)

    def raise_first_error(self) -> None:
        """Raises BrokenOffError when a lane ended in an error."""
        if self._errors:
            raise gave_up(self._errors[0]) from self._errors[0]
