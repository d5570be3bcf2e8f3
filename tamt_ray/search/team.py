"""The workers of one search."""

from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Team:
    """This worker's place among the DDP workers of a search; alone by default."""

    device: torch.device = torch.device("cpu")
    rank: int = 0
    size: int = 1

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` with gradients averaged over the team."""
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """`values` summed over the team."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def agree(self, word: str | None) -> str | None:
        """The first worker's `word`, known to all."""
        words = [word]
        if self.size > 1:
            distributed.broadcast_object_list(words, device=self.device)
        return words[0]
