"""The file of a mask at the shape of BERT-base: how large, how long to write and to read."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from benchmarks.answer import Answer, at_most
from benchmarks.clock import interleave
from tamt_ray.masks.file import mask_from_bytes, mask_to_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import prunable_matrices

ROUNDS = 5


def run() -> Iterator[Answer]:
    """Bits a weight, and seconds through a real file."""
    mask = Mask.at_random(prunable_matrices(BertModel(BertConfig())), 0.7, 1)
    with tempfile.TemporaryDirectory(prefix="tamt-bench-") as folder:
        path = Path(folder, "mask.safetensors")
        times = interleave(
            {
                "save": lambda: path.write_bytes(mask_to_bytes(mask)),
                "load": lambda: mask_from_bytes(path.read_bytes()),
            },
            ROUNDS,
        )
        loaded = mask_from_bytes(path.read_bytes())
        bits = 8 * path.stat().st_size / mask.weights
    assert all(torch.equal(loaded[name], mask[name]) for name in mask)
    weights = f"{mask.weights:,} weights"
    yield at_most("mask file: bits a weight", bits, 1.01, "bit", weights)
    yield at_most("mask file: save", times.median("save"), 0.3, "s", weights)
    yield at_most("mask file: load", times.median("load"), 0.3, "s", weights)
