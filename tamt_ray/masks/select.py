"""Exact local selection: the requested number of zeros, to the unit.

The same values give the same mask on every device. How it is found depends on the device: on a CPU
within a bracket around the last threshold (`bracket.py`), on a GPU by a radix select (`radix.py`),
without Triton by a sort.
"""

import importlib.util
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tamt_ray.masks.bracket import Threshold, ThresholdFinder
from tamt_ray.masks.pruner import Matrices, Pruner, keep_by_sorting

CountZeros = Callable[[float, int], int]
"""Returns the number of zeros among so many weights at a sparsity."""
_FEW = 16
"""Values of a row that are compared each with each other instead of sorted."""


class BracketPruner(Pruner):
    """Prunes on a CPU, where φ is looked for near the last one."""

    def __init__(self, matrices: Matrices) -> None:
        super().__init__(matrices)
        self._selections = {name: ThresholdFinder(zeros) for name, zeros in matrices.zeros.items()}

    def keep(self) -> dict[str, Tensor]:
        found = {name: self.matrices.ranked(name) for name in self._selections}
        return {name: self._selections[name].cut(v).keep(v) for name, v in found.items()}

    def prune(self) -> None:
        for name, selection in self._selections.items():
            ranked = self.matrices.ranked(name)
            self._cut(name, selection.cut(ranked), ranked)

    def prune_at(self, thresholds: Mapping[str, Tensor], *, at_least: bool) -> None:
        for name, phi in thresholds.items():
            ranked = self.matrices.ranked(name)
            self._cut(name, Threshold(float(phi), 0 if at_least else ranked.numel()), ranked)

    def thresholds(self, *, at_least: bool) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, selection in self._selections.items():
            ranked = self.matrices.ranked(name)
            keep = selection.cut(ranked).keep(ranked)
            if at_least:
                found[name] = ranked.masked_fill(~keep, torch.inf).min()
            else:
                found[name] = ranked.masked_fill(keep, -torch.inf).max()
        return found

    def _cut(self, name: str, cut: Threshold, ranked: Tensor) -> None:
        cut.write(self.matrices.dense[name], ranked, self.matrices.weights[name].detach())


def zeros_at(sparsity: float, weights: int) -> int:
    """Return the zeros of `weights` at a sparsity in [0, 1): the nearest whole number."""
    return math.floor(sparsity * weights + 0.5)


def zeros_below(sparsity: float, weights: int) -> int:
    """Return the zeros of the released code at a sparsity: int(n·s)."""
    return int(weights * sparsity)


def keep_largest(values: Tensor, zeros: int) -> Tensor:
    """Return True where a value is kept; exactly `zeros` of the smallest are not.

    Among equal values at the threshold the ones with the lowest flat index are pruned first, so
    the result depends on nothing but the values. Values of any shape; the result has the same.
    Raises ValueError where they are too few.
    """
    if not 0 <= zeros <= values.numel():
        raise ValueError(f"cannot set {zeros} of {values.numel()} weights to zero")
    if values.device.type == "cpu":
        return ThresholdFinder(zeros).cut(values).keep(values)
    return keep_by_sorting(values, zeros)


def keep_largest_of_rows(values: Tensor, zeros: int) -> Tensor:
    """Return True where a value of [rows, n] is kept; `zeros` of each row are not.

    Of equal values the first are pruned, as in `keep_largest`.
    """
    rows, count = values.shape
    if rows == 1:
        return keep_largest(values, zeros)
    if count > _FEW:
        order = values.sort(dim=1, stable=True).indices
        return torch.ones_like(values, dtype=torch.bool).scatter_(1, order[:, :zeros], False)
    # Several times faster than to sort millions of short rows.
    columns = values.t().contiguous()
    places = torch.zeros_like(columns, dtype=torch.int8)
    for later in range(count):
        for earlier in range(later):
            below = columns[earlier] <= columns[later]
            places[later] += below
            places[earlier] += ~below
    return (places >= zeros).t()


def make_pruner(matrices: Matrices) -> Pruner:
    """Return the pruner for the device of the matrices."""
    device = next(iter(matrices.scores.values())).device.type
    if device == "cpu":
        return BracketPruner(matrices)
    if device == "cuda" and importlib.util.find_spec("triton"):
        from tamt_ray.masks.radix import RadixPruner

        return RadixPruner(matrices)
    return Pruner(matrices)
