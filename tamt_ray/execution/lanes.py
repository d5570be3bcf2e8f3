"""The threads that drive Ray Train and Ray Tune."""

import threading
from collections.abc import Callable

from tamt_ray.execution.interruption import gave_up


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
        """Whether any lane is still at work."""
        return any(thread.is_alive() for thread in self._threads)

    def failed(self) -> bool:
        """Whether any lane ended in an error."""
        return bool(self._errors)

    def raise_first_error(self) -> None:
        """Raises BrokenOffError when a lane ended in an error."""
        if self._errors:
            raise gave_up(self._errors[0]) from self._errors[0]
