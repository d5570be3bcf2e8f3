"""The mask of one subnetwork."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tamt_ray.masks.layout import Layout
from tamt_ray.masks.select import CountZeros, zeros_at
from tamt_ray.values.pattern import UNSTRUCTURED, Per


class Mask(Mapping[str, Tensor]):
    """True where a weight is kept, for each prunable matrix by name; immutable by convention.

    Every matrix is a bool tensor [out, in] on the CPU.
    """

    def __init__(self, matrices: Mapping[str, Tensor], pattern: str = UNSTRUCTURED) -> None:
        """Raises ValueError for anything that is not a set of boolean matrices with that pattern
        (`values.pattern`)."""
        if not matrices:
            raise ValueError("a mask covers at least one matrix")
        for name, matrix in matrices.items():
            if matrix.dtype is not torch.bool or matrix.ndim != 2 or matrix.numel() == 0:
                raise ValueError(
                    f"{name}: a mask is a bool matrix, not {matrix.dtype} {matrix.shape}"
                )
        self._matrices = MappingProxyType({name: m.cpu() for name, m in matrices.items()})
        self.pattern = pattern
        if pattern != UNSTRUCTURED:
            _layout(self, pattern).check_mask(self)

    @classmethod
    def by_magnitude(
        cls,
        weights: Mapping[str, Tensor],
        sparsity: float,
        zeros: CountZeros = zeros_at,
        *,
        pattern: str = UNSTRUCTURED,
    ) -> Self:
        """Keeps the largest |w| of each matrix: OMP where `weights` is θ0."""
        sizes = {name: weight.detach().abs() for name, weight in weights.items()}
        return cls.by_score(sizes, sparsity, zeros, pattern=pattern)

    @classmethod
    def by_score(
        cls,
        scores: Mapping[str, Tensor],
        sparsity: float,
        zeros: CountZeros = zeros_at,
        *,
        pattern: str = UNSTRUCTURED,
        per: Per = "matrix",
    ) -> Self:
        """Keeps the largest scores of each matrix, exactly `sparsity` of it zero.

        Under a pattern the units with the largest mean scores are kept, in each of its groups; with
        `per` the scores of a row, or of all matrices, are ranked together. Raises ValueError for a
        score that is not a number: it has no rank.
        """
        for name, values in scores.items():
            if values.isnan().any():
                raise ValueError(f"{name}: {int(values.isnan().sum())} scores are not a number")
        return cls(_layout(scores, pattern, per).select(scores, sparsity, zeros), pattern)

    @classmethod
    def at_random(
        cls,
        weights: Mapping[str, Tensor],
        sparsity: float,
        seed: int,
        zeros: CountZeros = zeros_at,
        *,
        pattern: str = UNSTRUCTURED,
    ) -> Self:
        """Keeps a uniform random subset of the units of each matrix."""
        generator = torch.Generator().manual_seed(seed)
        layout = _layout(weights, pattern)
        drawn: dict[str, Tensor] = {}
        for name, units in layout.pool(weights).items():
            order = torch.randperm(units.numel(), generator=generator)
            drawn[name] = torch.empty(units.numel(), dtype=torch.float64)
            drawn[name][order] = torch.arange(units.numel(), dtype=torch.float64)
            drawn[name] = drawn[name].view(units.shape)
        return cls(layout.select_units(drawn, sparsity, zeros), pattern)

    def __getitem__(self, name: str) -> Tensor:
        return self._matrices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._matrices)

    def __len__(self) -> int:
        return len(self._matrices)

    def __repr__(self) -> str:
        return f"<Mask of {len(self)} matrices, {self.zeros:,} of {self.weights:,} weights pruned>"

    @property
    def weights(self) -> int:
        """Number of weights covered."""
        return sum(matrix.numel() for matrix in self.values())

    @property
    def zeros(self) -> int:
        """Number of weights removed."""
        return self.weights - count_true(self.values())

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


def _layout(matrices: Mapping[str, Tensor], pattern: str, per: Per = "matrix") -> Layout:
    return Layout({name: tuple(matrix.shape) for name, matrix in matrices.items()}, pattern, per)


def count_true(flags: Iterable[Tensor]) -> int:
    """Return the number of True values in tensors of one device, in one read from it."""
    counts = [torch.count_nonzero(each) for each in flags]
    return int(torch.stack(counts).sum()) if counts else 0


@torch.no_grad()
def zero_pruned(matrices: Mapping[str, nn.Parameter], mask: Mask) -> None:
    """Set pruned weights to zero. Raises ValueError for another model's mask."""
    mask.check_covers(matrices)
    for name, weight in matrices.items():
        weight.mul_(mask[name].to(weight.device))


def clear_pruned(values: Sequence[Tensor], keep: Sequence[Tensor]) -> None:
    """Multiply each of `values` by its flags `keep` of the same shape and device, in place.

    On a CPU by NumPy, which makes a few thousand flags floats at a time, as the bytes they are:
    Torch multiplies floats by flags one by one. On a GPU in one call. The same to the bit.
    """
    if not all(each.device.type == "cpu" and each.dtype is torch.float32 for each in values):
        torch._foreach_mul_(list(values), list(keep))  # pyright: ignore[reportPrivateImportUsage]
        return
    for each, flags in zip(values, keep, strict=True):
        floats = each.numpy()
        np.multiply(floats, flags.view(torch.int8).numpy(), out=floats)


class KeptZero:
    """Pruned weights, set to zero, that a training loop of ours keeps there.

    With zero gradient Adam's moments stay zero too; weight decay acts on zero.
    """

    def __init__(self, matrices: Mapping[str, nn.Parameter], mask: Mask) -> None:
        """Raises ValueError for another model's mask."""
        zero_pruned(matrices, mask)
        self._weights = [
            (weight, mask[name].to(weight.device)) for name, weight in matrices.items()
        ]

    def clear_gradients(self) -> None:
        """Clear the gradients of pruned weights; to be called between backward pass and step."""
        found = [(w.grad, keep) for w, keep in self._weights if w.grad is not None]
        clear_pruned([grad for grad, _ in found], [keep for _, keep in found])


def apply_mask(matrices: Mapping[str, nn.Parameter], mask: Mask) -> list[RemovableHandle]:
    """Set pruned weights to zero and keep them there in any training loop.

    Clears their gradients by a hook per matrix, as `KeptZero` does at once; the handles undo that.
    """
    zero_pruned(matrices, mask)
    handles: list[RemovableHandle] = []
    for name, weight in matrices.items():
        keep = mask[name].to(weight.device)

        def clear(parameter: Tensor, keep: Tensor = keep) -> None:
            if parameter.grad is not None:
                clear_pruned([parameter.grad], [keep])

        handles.append(weight.register_post_accumulate_grad_hook(clear))
    return handles


def pruned_nonzero(matrices: Mapping[str, Tensor], mask: Mask) -> int:
    """Return how many pruned weights are not exactly zero: 0 for a sound subnetwork."""
    values = {name: matrices[name].detach() for name in mask}
    return count_true((v != 0) & ~mask[name].to(v.device) for name, v in values.items())
