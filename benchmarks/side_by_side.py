"""Fine-tunes that share one device: steps per second of all together over those of one alone.

Each has a process, one thread and its share of a GPU's memory, as a worker of the fleet has. Where
NVIDIA MPS runs, they share the GPU by it.
"""

import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from benchmarks.answer import Answer, at_least
from benchmarks.device import CPU, Device
from benchmarks.words import Finetune

_begin: Barrier | None = None


def run(device: Device = CPU) -> Iterator[Answer]:
    """Two, four and eight of them."""
    counts, steps = ((2, 4, 8), 60) if device.cuda else ((2,), 2)
    with tempfile.TemporaryDirectory(prefix="tamt-beside-") as scratch:
        path = Path(scratch)
        device.shape.save(path)
        alone = _together(path, 1, steps, device)
        for count in counts:
            together = _together(path, count, steps, device)
            question = f"steps per second of {count} fine-tunes on one device over those of one"
            said = f"{together:.1f} over {alone:.1f} steps per second"
            limit = 3 if count == 8 else 1
            yield device.judged(at_least(question, together / alone, limit, "x", said))


def _together(path: Path, count: int, steps: int, device: Device) -> float:
    """Steps per second of so many processes that begin together."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    given = (context.Barrier(count, timeout=180),)
    with ProcessPoolExecutor(count, context, _enter, given) as pool:
        futures = [pool.submit(_work, path, count, steps, device) for _ in range(count)]
        return count * steps / max(future.result() for future in futures)


def _enter(barrier: Barrier) -> None:
    global _begin
    _begin = barrier


def _work(path: Path, count: int, steps: int, device: Device) -> float:
    """Seconds of one fine-tune among others."""
    if device.cuda and count > 1:
        torch.cuda.set_per_process_memory_fraction(1 / count)
    torch.set_num_threads(1)
    finetune = Finetune(path, steps, device)
    assert _begin is not None
    return finetune.ours(_begin.wait)
