"""What a search holds beyond the dense training step: weights, gradients and Adam's moments.

Bytes of all tensors alive between two steps, each contestant in a process of its own; on a GPU
those that its allocator gave away. The dense step is taken with its decoder tied, so without the
frozen copy that it is timed with.
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
from benchmarks.device import CPU, Device
from benchmarks.search_step import drawing, masked_step
from benchmarks.shape import MINI, Shape
from tamt_ray.objectives.base import Objective
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm

SEARCHES: dict[str, tuple[Objective, ...]] = {
    "tamt_mlm": (Mlm(),), "tamt_kd": (Kd(),), "tamt_mlm_kd": (Mlm(), Kd()),
}  # fmt: skip


def alive() -> int:
    """Bytes of all tensors, gradients among them, each memory once."""
    # Asked by `isinstance`, some objects warn.
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
    tensors += [tensor.grad for tensor in tensors if tensor.is_leaf and tensor.grad is not None]
    return sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
    )


def measure(name: str, path: Path, device: Device) -> dict[str, int]:
    """`alive`, `peak` (of a CPU's process the resident bytes) and `masked` (bytes of the masked
    weights) after two steps of a contestant."""
    shape = _shape(device)
    dense = DenseStep(path, "mlm") if name == "dense" else None
    if dense:
        torch.nn.Module.to(dense.model, device.torch)
        step = drawing(shape, dense, device)
    else:
        step = masked_step(path, shape, SEARCHES[name], device)
    device.peak()
    for _ in range(2):
        step()
    gc.collect()
    resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "alive": device.allocated() if device.cuda else alive(),
        "peak": device.peak() if device.cuda else resident,
    }
    if dense:
        found["alive"] -= dense.model.cls.predictions.decoder.weight.nbytes
        found["masked"] = sum(p.nbytes for n, p in dense.trained.items() if n.startswith("bert."))
    return found


def _shape(device: Device) -> Shape:
    """Few activations, so that weights decide the peak too."""
    return replace(device.shape if device.gpu else MINI, batch=2)


def run(device: Device = CPU) -> Iterator[Answer]:
    """The searches against the dense step, and distillation against none."""
    with tempfile.TemporaryDirectory(prefix="tamt-memory-") as scratch:
        _shape(device).save(Path(scratch))
        found = {name: _apart(name, scratch, device) for name in ("dense", *SEARCHES)}
    copy = found["dense"]["masked"]
    # Libraries of a GPU keep room of their own.
    digits = 1 if device.cuda else 3
    for name in SEARCHES:
        extra = (found[name]["alive"] - found["dense"]["alive"]) / copy
        peak = (found[name]["peak"] - found["dense"]["peak"]) / copy
        yield device.judged(
            at_most(
                f"{name} beyond the dense training step, copies of the masked weights",
                round(extra, digits), 2, "x",
                f"one copy is {copy / 2**20:.0f} MiB; peak {peak:+.2f} copies",
            )
        )  # fmt: skip
    added = (found["tamt_mlm_kd"]["alive"] - found["tamt_mlm"]["alive"]) / copy
    question = "distillation beside the MLM loss, copies"
    yield device.judged(at_most(question, round(added, digits), 0, "x"))


def _apart(name: str, path: str, device: Device) -> dict[str, int]:
    words = [sys.executable, "-m", "benchmarks.memory", name, path, device.name]
    words += ["toy"] * device.toy
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = Device(sys.argv[3], toy="toy" in sys.argv[4:])
    sys.stdout.write(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), given)))
