"""Time in the board's event loop."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable


class Later:
    """Work that an event loop does after a while."""

    def __init__(self) -> None:
        # The loop itself holds tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` after so many seconds."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            await work()

        task = asyncio.ensure_future(wait())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # Nothing awaits the task, so its error would be lost.
        if not task.cancelled() and (error := task.exception()):
            logging.getLogger(__name__).error("the board's work failed", exc_info=error)


async def ticks(pause: float) -> AsyncIterator[float]:
    """Yield every `pause` seconds the seconds since the last time, without those for which this
    process itself was stopped."""
    before = time.monotonic()
    while True:
        await asyncio.sleep(pause)
        now = time.monotonic()
        yield min(now - before, 2 * pause)
        before = now
