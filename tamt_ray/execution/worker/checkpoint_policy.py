"""Saving of the states of running searches in the store."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tamt_ray.search.state import TrainingState, state_from_bytes
from tamt_ray.store.states import States


@dataclass(frozen=True)
class CheckpointPolicy:
    """Rules for saving the states of a search, and for keeping the last one."""

    every: float = 300.0
    """Seconds between two states."""
    urgent: Callable[[], bool] = lambda: False
    """True where the process is about to be stopped; asked after each check of the workers' values:
    every step on CPUs, every ten on GPUs."""
    leave_last: bool = True
    """Keep the state of a finished search, so that a longer one can go on from it."""


class StoreCheckpointer:
    """Keeps the states of one search in the store."""

    def __init__(
        self, states: States, last: int, saving: CheckpointPolicy, *, leave_last: bool
    ) -> None:
        """`last` is the search's own last step; `leave_last` says whether to keep that state."""
        self._states = states
        self._last = last
        self._saving = saving
        self._leave_last = leave_last
        self._kept = time.monotonic()
        self._warned = False

    def newest(self) -> str | None:
        """Return the name of the newest sound state that this search passes through."""
        return self._states.newest(self._last)

    def read(self, name: str) -> TrainingState:
        """Return the state of that name."""
        return state_from_bytes(self._states.read(name))

    def due(self, *, last: bool) -> bool:
        """Return whether enough time has passed, or the process is about to be stopped."""
        if last:
            return self._leave_last
        if self._saving.urgent():
            # Once is enough: what follows is at most the grace period.
            first, self._warned = not self._warned, True
            return first
        return time.monotonic() - self._kept >= self._saving.every

    def keep(self, state: TrainingState) -> None:
        """Write a state to the store. Where that fails the search goes on: it costs time only if
        the search is lost before the next state."""
        try:
            self._states.keep(state.step, state.to_bytes())
        except OSError as error:
            print(f"the state of step {state.step} cannot be kept: {error}", flush=True)  # noqa: T201
        self._kept = time.monotonic()

    def finish(self) -> None:
        """Drop the states that the committed result makes superfluous. Where that fails they only
        take room."""
        if self._leave_last:
            return
        try:
            self._states.clear()
        except OSError as error:
            print(f"states that nobody needs cannot be removed: {error}", flush=True)  # noqa: T201
