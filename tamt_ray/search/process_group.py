"""The workers of one search."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import GradBucket  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel


class RanksDifferError(RuntimeError):
    """Workers of one search, which all compute the same, hold different values."""


@dataclass(frozen=True)
class ProcessGroup:
    """This worker's place among the DDP workers of a search; alone by default."""

    device: torch.device = torch.device("cpu")
    rank: int = 0
    size: int = 1

    def wrap(self, module: nn.Module, *, short: bool = False, unreached: bool = False) -> nn.Module:
        """Return `module` with gradients averaged over the group; `short`: they travel in bfloat16;
        `unreached`: some parameters get none."""
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        # No buffer of an encoder changes.
        wrapped = DistributedDataParallel(
            module,
            device_ids=devices,
            forward_sync_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=unreached,
        )
        if short:
            wrapped.register_comm_hook(None, _in_bfloat16)
        return wrapped

    def sum(self, values: Tensor) -> Tensor:
        """`values` summed over the group."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all workers the values of the first one, in place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)

    def check_same(self, tensors: Iterable[Tensor], step: int) -> None:
        """Raises RanksDifferError, for all workers, unless they have the same checksums."""
        if self.size == 1:
            return
        each = {id(tensor): tensor for tensor in tensors}
        sums = torch.stack([_checksum(tensor) for tensor in each.values()])
        # The complement turns the order around, so that one maximum gives the minimum too.
        own = torch.cat([sums, ~sums])
        largest = own.clone()
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        if not torch.equal(largest, own):
            raise RanksDifferError(f"the workers of this search differ after step {step}")

    def agree(self, word: str | None) -> str | None:
        """Return the first worker's `word`, known to all."""
        words = [word]
        if self.size > 1:
            distributed.broadcast_object_list(words, device=self.device)
        return words[0]


def _checksum(tensor: Tensor) -> Tensor:
    """Return the sum of the bits as whole numbers, which is the same in any order.

    Wide numbers where they fit: a CPU adds them up thirty times as fast as int32.
    """
    size, begin = tensor.nbytes, tensor.storage_offset() * tensor.element_size()
    kinds = (torch.int64, torch.int32, torch.uint8)
    kind = next(k for k in kinds if size % k.itemsize == begin % k.itemsize == 0)
    return tensor.detach().reshape(-1).view(kind).sum()


def _in_bfloat16(_: None, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Torch's own hook; under its own name DDP lets it near NCCL only, and gloo can do it too."""
    everyone: Any = None
    return default_hooks.bf16_compress_hook(everyone, bucket)
