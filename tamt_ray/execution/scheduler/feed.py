"""The board's events for its driver, and the wake-up of those that wait for a change."""

import asyncio
import contextlib

from tamt_ray.data.history import Point
from tamt_ray.execution.scheduler.messages import MOST_POINTS, Event, Progressed


class EventFeed:
    """Numbered events for one driver, and the newest step of each running unit."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._events: list[Event] = []
        self._first = 0
        """Number of the first event that is still held."""
        self._steps: dict[str, Progressed] = {}

    async def publish(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        await self.wake()

    def reached(self, unit_id: str, step: int, steps: int, points: tuple[Point, ...]) -> None:
        """Note a unit's step and new points of its curve; wakes nobody."""
        before = self._steps.get(unit_id)
        points = (*(before.points if before else ()), *points)[-MOST_POINTS:]
        self._steps[unit_id] = Progressed(unit_id, step, steps, points)

    def forget(self, unit_id: str) -> None:
        """Drop the step of a unit that is done."""
        self._steps.pop(unit_id, None)

    async def since(self, after: int, wait: float) -> tuple[int, list[Event]]:
        """Return the number to ask for next, and the events from number `after` on.

        Waits up to `wait` seconds for the first. What was handed over is forgotten.
        """
        del self._events[: after - self._first]
        self._first = after
        if not self._events:
            # Steps are returned even if no event comes in time.
            await self.changed(wait)
        steps, self._steps = list(self._steps.values()), {}
        return after + len(self._events), [*self._events, *steps]

    async def wake(self) -> None:
        """Wake all that wait for a change."""
        async with self._changed:
            self._changed.notify_all()

    async def changed(self, wait: float) -> None:
        """Wait for the next change, at most `wait` seconds."""
        with contextlib.suppress(TimeoutError):
            async with self._changed:
                await asyncio.wait_for(self._changed.wait(), wait)
