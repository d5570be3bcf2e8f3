"""Time in the board's event loop."""

import asyncio
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
        task.add_done_callback(self._tasks.discard)


async def ticks(pause: float) -> AsyncIterator[float]:
    """Yield every `pause` seconds the seconds since the last time, without those for which this
    process itself was stopped."""
    before = time.monotonic()
    while True:
        await asyncio.sleep(pause)
        now = time.monotonic()
        yield min(now - before, 2 * pause)
        before = now
