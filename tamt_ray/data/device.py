"""Copies to a device, attention masks and number formats."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from tamt_ray.values.training import Precision

_AS_GIVEN = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
"""Architectures in which all layers use a mask [batch, 1, length, length] as it is."""


def send(values: Tensor, device: torch.device) -> Tensor:
    """`values` on a device; the host goes on at once.

    A GPU copies from pinned memory behind the work it already has. From other memory the host would
    wait for all of that work, and could not prepare the next step meanwhile.
    """
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def takes_whole_mask(config: PreTrainedConfig) -> bool:
    """Return whether a model uses a whole mask as it is, so that the host never waits for it."""
    return config.model_type in _AS_GIVEN and config._attn_implementation == "sdpa"


def whole_mask(real: Tensor, config: PreTrainedConfig) -> Tensor:
    """Return the mask for a model that hides the tokens where `real` [batch, length] is 0.

    Given flat masks, transformers reads from the device whether they hide anything. A whole one it
    takes as it is. Of other architectures than those known here, layers may build masks of their
    own from the flat one, so they get that.
    """
    if not takes_whole_mask(config):
        return real
    return real.bool()[:, None, None, :].expand(-1, 1, real.shape[1], -1)


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
