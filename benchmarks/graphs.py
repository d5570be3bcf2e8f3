"""Fine-tuning steps as CUDA graphs beside plain ones: the same bits, and how much faster."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.answer import Answer, at_least, at_most, holds
from benchmarks.device import Device
from benchmarks.words import Finetune
from tamt_ray.finetune.graphs import Recorder, graph_recorder

_BATCHES, _EPOCHS = 60, 4
"""Several epochs, so that shapes come again."""


class _Counted:
    """Counts the replays of what it records."""

    def __init__(self, record: Recorder) -> None:
        self._record = record
        self.replays = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
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
        for precision in ("float32", "bfloat16"):
            finetune = Finetune(path, _BATCHES, device, precision=precision, epochs=_EPOCHS)
            graphs = graph_recorder(device.torch, finetune.config)
            assert graphs is not None
            record = _Counted(graphs)
            torch.use_deterministic_algorithms(True)
            try:
                finetune.ours()
                plain = finetune.weights()
                finetune.begin()
                finetune.ours(record=record)
                same = zip(plain, finetune.weights(), strict=True)
            finally:
                torch.use_deterministic_algorithms(False)
            wrong = sum(int((one != other).sum()) for one, other in same)
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
