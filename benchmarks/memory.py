"""What a search holds beyond the dense training step: weights, gradients and Adam's moments.

Bytes of all tensors alive between two steps, each contestant in a process of its own. The dense
step is taken with its decoder tied, so without the frozen copy that it is timed with.
"""

import gc
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.answer import Answer, at_most
from benchmarks.dense_step import DenseStep
from benchmarks.search_step import drawing, masked_step
from benchmarks.shape import MINI
from tamt_ray.objectives.base import Objective
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm

SHAPE = replace(MINI, batch=2)
"""Few activations, so that weights decide the peak too."""
SEARCHES: dict[str, tuple[Objective, ...]] = {
    "tamt_mlm": (Mlm(),), "tamt_kd": (Kd(),), "tamt_mlm_kd": (Mlm(), Kd()),
}  # fmt: skip


def alive() -> int:
    """Bytes of all tensors, gradients among them, each memory once."""
    tensors = [thing for thing in gc.get_objects() if isinstance(thing, Tensor)]
    tensors += [tensor.grad for tensor in tensors if tensor.is_leaf and tensor.grad is not None]
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )


def measure(name: str, path: Path) -> dict[str, int]:
    """`alive`, `peak` (resident bytes of the process) and `masked` (bytes of the masked weights)
    after two steps of a contestant."""
    dense = DenseStep(path, "mlm") if name == "dense" else None
    step = drawing(SHAPE, dense) if dense else masked_step(path, SHAPE, SEARCHES[name])
    for _ in range(2):
        step()
    gc.collect()
    found = {"alive": alive(), "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if dense:
        found["alive"] -= dense.model.cls.predictions.decoder.weight.nbytes
        found["masked"] = sum(p.nbytes for n, p in dense.trained.items() if n.startswith("bert."))
    return found


def run() -> Iterator[Answer]:
    """The searches against the dense step, and distillation against none."""
    with tempfile.TemporaryDirectory(prefix="tamt-memory-") as scratch:
        SHAPE.save(Path(scratch))
        found = {name: _apart(name, scratch) for name in ("dense", *SEARCHES)}
    copy = found["dense"]["masked"]
    for name in SEARCHES:
        extra = (found[name]["alive"] - found["dense"]["alive"]) / copy
        peak = (found[name]["peak"] - found["dense"]["peak"]) / copy
        yield at_most(
            f"{name} beyond the dense training step, copies of the masked weights",
            round(extra, 3), 2, "x", f"one copy is {copy / 2**20:.0f} MiB; peak {peak:+.2f} copies",
        )  # fmt: skip
    added = (found["tamt_mlm_kd"]["alive"] - found["tamt_mlm"]["alive"]) / copy
    yield at_most("distillation beside the MLM loss, copies", round(added, 3), 0, "x")


def _apart(name: str, path: str) -> dict[str, int]:
    words = [sys.executable, "-m", "benchmarks.memory", name, path]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
