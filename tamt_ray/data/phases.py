"""Timers for the phases of a training step; without a profiler they cost nothing."""

import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

Seconds = dict[str, float]
"""Seconds by phase, summed over all its passes."""

_watching: Seconds | None = None


def phase(name: str) -> AbstractContextManager[None]:
    """Time the block as phase `name` while a profiler is active. Phases do not nest."""
    return nullcontext() if _watching is None else _timed(name, _watching)


@contextmanager
def watched() -> Generator[Seconds]:
    """Yield the seconds per phase of the block, in this process; one profiler at a time."""
    global _watching
    _watching = {}
    try:
        yield _watching
    finally:
        _watching = None


@contextmanager
def _timed(name: str, seconds: Seconds) -> Generator[None]:
    begin = time.perf_counter()
    yield
    if torch.cuda.is_available():
        # A GPU works asynchronously.
        torch.cuda.synchronize()
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
