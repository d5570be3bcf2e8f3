"""Fine-tuning steps as CUDA graphs beside plain ones: the same bits, and how much faster."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoConfig

from benchmarks.answer import Answer, at_least, at_most, holds
from benchmarks.device import Device
from benchmarks.words import Finetune
from tamt_ray.finetune.graphs import graph_recorder

_EPOCHS = 4
"""Epochs of 60 batches, so that shapes come again."""


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
        record = graph_recorder(device.torch, AutoConfig.from_pretrained(path))
        assert record is not None
        for precision in ("float32", "bfloat16"):
            finetune = Finetune(path, 60, device, precision=precision, epochs=_EPOCHS)
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
            question = f"{precision}: weights that differ between plain and replayed steps"
            yield at_most(question, wrong, 0, "weights")
            seconds, free = finetune.ours(), torch.cuda.mem_get_info()[0]
            replayed = finetune.ours(record=record)
            taken = (free - torch.cuda.mem_get_info()[0]) / 2**20
            said = f"{1e3 * seconds / 60 / _EPOCHS:.3g} ms per plain step; {taken:.0f} MiB more"
            question = f"{precision}: time of plain steps over those with CUDA graphs"
            yield at_least(question, seconds / replayed, 1, "x", said)
            yield holds(f"{precision}: pruned weights stay zero in a graph", not finetune.moved())
