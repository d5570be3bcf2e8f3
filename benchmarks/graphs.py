"""CUDA graphs beside plain steps, of fine-tunes and of searches: the same bits, and how much
faster."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.answer import Answer, at_least, at_most, holds
from benchmarks.device import Device
from benchmarks.search_step import mask_training
from benchmarks.words import Finetune
from tamt_ray.data.graphs import Recorder, cuda_recorder
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm

_BATCHES, _EPOCHS = 60, 4
"""Several epochs, so that shapes come again."""
_STEPS = 10
"""Steps of a search, of four micro-batches each."""
_PRECISIONS = ("float32", "bfloat16")


class _Counted:
    """Counts the replays of what it records."""

    def __init__(self, record: Recorder) -> None:
        self._record = record
        self.records = self.replays = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.records += 1
        replay = self._record(work)

        def counted() -> None:
            self.replays += 1
            replay()

        return counted


def run(device: Device) -> Iterator[Answer]:
    """Bits under deterministic algorithms, the time without; float32 and bfloat16."""
    if not device.cuda:
        yield Answer("CUDA graphs of fine-tunes were left out: they need a GPU", None)
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="tamt-graphs-") as scratch:
        path = Path(scratch)
        device.shape.save(path)
        for precision in _PRECISIONS:
            finetune = Finetune(path, _BATCHES, device, precision=precision, epochs=_EPOCHS)
            record = _Counted(cuda_recorder())
            torch.use_deterministic_algorithms(True)
            try:
                finetune.ours()
                plain = finetune.weights()
                finetune.begin()
                finetune.ours(record=record)
            finally:
                torch.use_deterministic_algorithms(False)
            wrong = _unlike(plain, finetune.weights())
            steps = _BATCHES * _EPOCHS
            question = f"{precision}: steps that were replayed, of {steps}"
            yield at_least(question, record.replays / 2, steps / 4, "steps")
            question = f"{precision}: weights that differ between plain and replayed steps"
            yield at_most(question, wrong, 0, "weights")
            seconds, free = finetune.ours(), torch.cuda.mem_get_info()[0]
            replayed = finetune.ours(record=record)
            taken = (free - torch.cuda.mem_get_info()[0]) / 2**20
            said = f"{1e3 * seconds / steps:.3g} ms per plain step; {taken:.0f} MiB more"
            question = f"{precision}: time of plain steps over those with CUDA graphs"
            yield device.judged(at_least(question, seconds / replayed, 1, "x", said))
            yield holds(f"{precision}: pruned weights stay zero in a graph", not finetune.moved())


def searches(device: Device) -> Iterator[Answer]:
    """A search by MLM and distillation in micro-batches of a quarter: bits under deterministic
    algorithms, the time without, in bfloat16, which leaves the device the least to do."""
    if not device.cuda:
        yield Answer("CUDA graphs of searches were left out: they need a GPU", None)
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="tamt-graphs-") as scratch:
        path = Path(scratch)
        device.shape.save(path)
        for precision in _PRECISIONS:
            record = _Counted(cuda_recorder())
            torch.use_deterministic_algorithms(True)
            try:
                scores = [
                    _search(path, device, precision, recorder)[0] for recorder in (None, record)
                ]
            finally:
                torch.use_deterministic_algorithms(False)
            pieces = _STEPS * -(-device.shape.batch // _quarter(device))
            question = f"{precision}: micro-batches of a search that were replayed, of {pieces}"
            replayed = record.replays / max(record.records, 1)
            yield at_least(question, replayed, pieces - 1, "micro-batches")
            question = f"{precision}: scores that differ between plain and replayed micro-batches"
            yield at_most(question, _unlike(*scores), 0, "scores")
        _, plain, held = _search(path, device, "bfloat16", None)
        _, seconds, more = _search(path, device, "bfloat16", cuda_recorder())
        said = (
            f"{1e3 * plain / _STEPS:.3g} ms per plain step; {held / 2**30:.2f} GiB at most, "
            f"{more / 2**30:.2f} with graphs"
        )
        question = (
            "bfloat16: time of a search's plain steps over those with CUDA graphs, micro_batch "
            f"{_quarter(device)}"
        )
        yield device.judged(at_least(question, plain / seconds, 1, "x", said))


def _search(
    path: Path, device: Device, precision: str, record: Recorder | None
) -> tuple[list[Tensor], float, int]:
    """Return the scores, the seconds of the second half of a search, and its peak in bytes."""
    weights, engine = mask_training(
        path, device.shape, [Mlm(), Kd()], device=device, record=record, precision=precision,
        micro_batch=_quarter(device),
    )  # fmt: skip
    device.peak()
    engine.run(until=_STEPS // 2)
    begin = device.clock()
    engine.run(until=_STEPS)
    scores = [score.detach().clone() for score in weights.scores.values()]
    return scores, 2 * (device.clock() - begin), device.peak()


def _quarter(device: Device) -> int:
    """Blocks of a micro-batch, four of which make a step."""
    return max(1, device.shape.batch // 4)


def _unlike(some: list[Tensor], others: list[Tensor]) -> int:
    return sum(int((one != other).sum()) for one, other in zip(some, others, strict=True))
