"""Where the time of a training step goes, for whoever asks; free of cost for all others."""

import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

Seconds = dict[str, float]
"""By phase, summed over all times it was passed."""

_watching: Seconds | None = None


def phase(name: str) -> AbstractContextManager[None]:
    """What is done within counts as `name` while someone watches; phases do not contain others."""
    return nullcontext() if _watching is None else _timed(name, _watching)


@contextmanager
def watched() -> Generator[Seconds]:
    """The seconds of the phases passed within, of this process; one watches at a time."""
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
        # A GPU works on behind Python's back.
        torch.cuda.synchronize()
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
