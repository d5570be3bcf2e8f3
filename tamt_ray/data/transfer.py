"""Copies to a device."""

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """`values` on a device; the host goes on at once.

    A GPU copies from pinned memory behind the work it already has. From other memory the host would
    wait for all of that work, and could not prepare the next step meanwhile.
    """
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
