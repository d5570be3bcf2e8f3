"""Two workers of a gang on one GPU: NCCL has to refuse them, as a sweep does beforehand."""

import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

import torch

from benchmarks.answer import Answer, holds
from benchmarks.device import Device

_WAIT = timedelta(seconds=40)


def run(device: Device) -> Iterator[Answer]:
    """Whether either of them meets an error, and not the end of its patience."""
    question = "NCCL refuses two workers on one GPU"
    if not device.cuda:
        yield Answer(f"{question}: left out, it needs a GPU", None)
        return
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(2, context) as pool:
        met = [pool.submit(_sum, Path(scratch) / "meeting", rank) for rank in range(2)]
        words = [each.result() for each in met]
    refused = any("Duplicate GPU" in each for each in words)
    yield holds(question, refused, (max(words, key=len) or "no error")[-200:])


def _sum(meeting: Path, rank: int) -> str:
    """Add up a number with the other worker; the error, if there is one."""
    torch.cuda.set_device(0)
    try:
        torch.distributed.init_process_group(
            "nccl", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=_WAIT
        )
        torch.distributed.all_reduce(torch.ones(1, device="cuda"))
        torch.cuda.synchronize()
    except RuntimeError as error:
        return str(error)
    return ""
