"""The mask of one subnetwork."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tamt_ray.masks.select import keep_largest, zeros_at

CountZeros = Callable[[float, int], int]
"""Gives the number of zeros of a matrix at a sparsity."""


class Mask(Mapping[str, Tensor]):
    """True where a weight is kept, for each prunable matrix by name; immutable by convention.

    Every matrix is a bool tensor [out, in] on the CPU.
    """

    def __init__(self, matrices: Mapping[str, Tensor]) -> None:
        """Raises ValueError for anything that is not a set of boolean matrices."""
        if not matrices:
            raise ValueError("a mask covers at least one matrix")
        for name, matrix in matrices.items():
            if matrix.dtype is not torch.bool or matrix.ndim != 2 or matrix.numel() == 0:
                raise ValueError(
                    f"{name}: a mask is a bool matrix, not {matrix.dtype} {matrix.shape}"
                )
        self._matrices = MappingProxyType({name: m.cpu() for name, m in matrices.items()})

    @classmethod
    def by_magnitude(
        cls, weights: Mapping[str, Tensor], sparsity: float, zeros: CountZeros = zeros_at
    ) -> Self:
        """Keeps the largest |w| of each matrix: OMP where `weights` is θ0."""
        return cls.by_score(
            {name: weight.detach().abs() for name, weight in weights.items()}, sparsity, zeros
        )

    @classmethod
    def by_score(
        cls, scores: Mapping[str, Tensor], sparsity: float, zeros: CountZeros = zeros_at
    ) -> Self:
        """Keeps the largest scores of each matrix, exactly `sparsity` of it zero."""
        return cls(
            {
                name: keep_largest(score, zeros(sparsity, score.numel()))
                for name, score in scores.items()
            }
        )

    @classmethod
    def at_random(
        cls,
        weights: Mapping[str, Tensor],
        sparsity: float,
        seed: int,
        zeros: CountZeros = zeros_at,
    ) -> Self:
        """Keeps a uniform random subset of each matrix."""
        generator = torch.Generator().manual_seed(seed)
        matrices: dict[str, Tensor] = {}
        for name, weight in weights.items():
            keep = torch.ones(weight.numel(), dtype=torch.bool)
            order = torch.randperm(weight.numel(), generator=generator)
            keep[order[: zeros(sparsity, weight.numel())]] = False
            matrices[name] = keep.view(weight.shape)
        return cls(matrices)

    def __getitem__(self, name: str) -> Tensor:
        return self._matrices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._matrices)

    def __len__(self) -> int:
        return len(self._matrices)

    @property
    def weights(self) -> int:
        """Number of weights covered."""
        return sum(matrix.numel() for matrix in self.values())

    @property
    def zeros(self) -> int:
        """Number of weights removed."""
        return sum(matrix.numel() - int(torch.count_nonzero(matrix)) for matrix in self.values())

    @property
    def sparsity(self) -> float:
        """zeros / weights."""
        return self.zeros / self.weights

    def check_covers(self, matrices: Mapping[str, Tensor]) -> None:
        """Raises ValueError unless the mask has just these matrices, in these shapes."""
        ours = {name: tuple(matrix.shape) for name, matrix in self.items()}
        theirs = {name: tuple(matrix.shape) for name, matrix in matrices.items()}
        if ours != theirs:
            differing = sorted(ours.items() ^ theirs.items())
            raise ValueError(f"the mask is another model's: {differing[0][0]} {differing[0][1]}")


@torch.no_grad()
def zero_pruned(matrices: Mapping[str, nn.Parameter], mask: Mask) -> None:
    """Set pruned weights to zero. Raises ValueError for another model's mask."""
    mask.check_covers(matrices)
    for name, weight in matrices.items():
        weight.mul_(mask[name].to(weight.device))


def clear_pruned(values: Tensor, keep: Tensor) -> None:
    """Multiply `values` by the flags `keep` of the same shape and device, in place.

    On a CPU by NumPy, which makes a few thousand flags floats at a time, as the bytes they are:
    Torch multiplies floats by flags one by one. The same to the bit.
    """
    if values.device.type == "cpu" and values.dtype is torch.float32:
        floats = values.numpy()
        np.multiply(floats, keep.view(torch.int8).numpy(), out=floats)
    else:
        values.mul_(keep)


def apply_mask(matrices: Mapping[str, nn.Parameter], mask: Mask) -> list[RemovableHandle]:
    """Set pruned weights to zero and keep their gradient zero, so that no step moves them.

    With zero gradient Adam's moments stay zero too; weight decay acts on zero. The handles undo
    the gradient part.
    """
    zero_pruned(matrices, mask)
    handles: list[RemovableHandle] = []
    for name, weight in matrices.items():
        keep = mask[name].to(weight.device)

        def clear(parameter: Tensor, keep: Tensor = keep) -> None:
            if parameter.grad is not None:
                clear_pruned(parameter.grad, keep)

        handles.append(weight.register_post_accumulate_grad_hook(clear))
    return handles


def pruned_nonzero(matrices: Mapping[str, Tensor], mask: Mask) -> int:
    """How many pruned weights are not exactly zero: 0 for a sound subnetwork."""
    moved = 0
    for name, keep in mask.items():
        values = matrices[name].detach()
        moved += int(torch.count_nonzero((values != 0) & ~keep.to(values.device)))
    return moved
