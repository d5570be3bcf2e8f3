"""Number format of forward and backward passes in searches, fine-tunes and evaluations."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from tamt_ray.values.training import Precision


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass: bfloat16 autocast, or none."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


@contextmanager
def matrix_products(precision: Precision) -> Generator[None]:
    """Compute the matrix products of forward and backward passes in TF32 where `precision` asks.

    Sets the flag of all devices: Torch's compiler fails where only CUDA's own flag is set.
    """
    if precision != "tf32":
        yield
        return
    cpu = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    before, before_on_cpu = torch.get_float32_matmul_precision(), cpu.fp32_precision
    torch.set_float32_matmul_precision("high")
    cpu.fp32_precision = before_on_cpu
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        cpu.fp32_precision = before_on_cpu
