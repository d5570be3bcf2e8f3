"""Exact local selection: the requested number of zeros, to the unit."""

import math

import torch
from torch import Tensor

_SMALL = 20_000
_STRIDE = 997


def zeros_at(sparsity: float, weights: int) -> int:
    """How many of `weights` are zero at a sparsity in [0, 1): the nearest whole number."""
    return math.floor(sparsity * weights + 0.5)


def keep_largest(values: Tensor, zeros: int) -> Tensor:
    """True where a value is kept; exactly `zeros` of the smallest are not.

    Among equal values at the threshold the ones with the lowest flat index are pruned first, so
    the result depends on nothing but the values. Values of any shape; the result has the same.
    """
    if not 0 <= zeros <= values.numel():
        raise ValueError(f"cannot set {zeros} of {values.numel()} weights to zero")
    if zeros == 0:
        return torch.ones_like(values, dtype=torch.bool)
    flat = values.reshape(-1)
    cut = _nth_smallest(flat, zeros)
    keep = flat > cut
    # Everything not above the cut is pruned unless ties at the cut make that too many.
    spare = flat.numel() - zeros - int(torch.count_nonzero(keep))
    if spare:
        ties = torch.nonzero(flat == cut).squeeze(1)
        keep[ties[len(ties) - spare :]] = True
    return keep.view(values.shape)


def _nth_smallest(flat: Tensor, n: int) -> Tensor:
    """The n-th smallest value (from 1), by selection inside a bracket that a sample suggests.

    The sample (Floyd and Rivest) only decides how much is looked at: the bracket is counted
    exactly and widened to everything where it misses.
    """
    if flat.numel() <= _SMALL:
        return flat.kthvalue(n).values
    sample = flat[::_STRIDE].sort().values
    middle = n / flat.numel() * len(sample)
    margin = 3 * math.sqrt(len(sample)) / 2 + 1
    low = sample[max(0, math.floor(middle - margin))]
    high = sample[min(len(sample) - 1, math.ceil(middle + margin))]
    below = int(torch.count_nonzero(flat < low))
    inside = flat[(flat >= low) & (flat <= high)]
    if below < n <= below + inside.numel():
        return low if low == high else inside.kthvalue(n - below).values
    return flat.kthvalue(n).values
