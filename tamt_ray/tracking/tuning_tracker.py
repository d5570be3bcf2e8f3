"""MLflow beside a tuning: told of everything, waited for by nothing."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tamt_ray.plan.tuning import Outcome
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.trouble import StoreError
from tamt_ray.tracking.tracker import prepare_mlflow
from tamt_ray.tracking.trouble import TrackingError, one_line

if TYPE_CHECKING:
    from tamt_ray.tracking.tuning import StudyWriter

_PAUSE = 5.0
"""Seconds between two attempts while MLflow is in trouble."""


class TuningTracker:
    """One thread that writes whatever the studies hold.

    The studies themselves are the spool: what MLflow did not get in one run is found missing and
    written in the next.
    """

    def __init__(self, sweep: Sweep, read: Callable[[], Sequence[Outcome]]) -> None:
        """`read` gives what the studies hold; called on the tracker's thread."""
        self._sweep = sweep
        self._read = read
        self._changed = threading.Condition()
        self._news = self._behind = True
        self._closing = False
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._deliver, name="tamt-mlflow", daemon=True)

    def start(self) -> None:
        """Begin with what earlier runs left."""
        self._thread.start()

    def tell(self) -> None:
        """There is something new; returns at once."""
        with self._changed:
            self._news = self._behind = True
            self._changed.notify_all()

    def close(self, timeout: float) -> str | None:
        """Waits at most `timeout` seconds; returns why MLflow lacks something, if it does."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if not self._behind:
            return None
        slow = self._thread.is_alive()
        return self._problem or ("it takes too long" if slow else "its writer stopped, see above")

    def _deliver(self) -> None:
        try:
            writer = self._writer()
        except ImportError as error:
            self._problem = one_line(f"mlflow cannot be imported: {error}")
            return
        while self._next():
            try:
                writer.write(self._read())
            except (TrackingError, StoreError, OSError) as error:
                self._problem = one_line(error)
                with self._changed:
                    if self._closing:
                        return
                    self._news = True
                    self._changed.wait_for(lambda: self._closing, _PAUSE)
            else:
                self._problem = None
                with self._changed:
                    self._behind = self._news

    def _next(self) -> bool:
        """Waits for news; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._closing)
            news, self._news = self._news, False
            return news

    def _writer(self) -> "StudyWriter":
        prepare_mlflow()
        from tamt_ray.tracking.tuning import StudyWriter

        return StudyWriter(self._sweep)
