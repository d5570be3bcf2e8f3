"""Matrices whose smallest scores are pruned, and a pruner for any device."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Matrices:
    """Contiguous tensors by name. `weights` are those of `dense` where the score is kept, else 0.

    `zeros` scores of each are pruned; with `magnitude` the smallest |score|.
    """

    scores: Mapping[str, Tensor]
    dense: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    zeros: Mapping[str, int]
    magnitude: bool

    def ranked(self, name: str) -> Tensor:
        """Return the values that are compared."""
        scores = self.scores[name].detach()
        return scores.abs() if self.magnitude else scores


class Pruner:
    """Prunes each matrix by a stable sort: plain Torch on any device.

    The host waits for nothing that is computed here.
    """

    def __init__(self, matrices: Matrices) -> None:
        self.matrices = matrices

    def prune(self) -> None:
        """Write W ⊙ M; the `zeros` smallest values are pruned, of equal ones the first."""
        given = self.matrices
        for name, zeros in given.zeros.items():
            smallest = _in_order(given.ranked(name))[:zeros]
            weights = given.weights[name].detach()
            weights.copy_(given.dense[name]).view(-1).index_fill_(0, smallest, 0.0)

    def keep(self) -> dict[str, Tensor]:
        """Return M, as `prune` writes it."""
        return {
            name: keep_by_sorting(self.matrices.ranked(name), zeros)
            for name, zeros in self.matrices.zeros.items()
        }

    def prune_at(self, thresholds: Mapping[str, Tensor], *, at_least: bool) -> None:
        """Write W ⊙ M; values above their φ are kept, with `at_least` those equal to it too."""
        for name, phi in thresholds.items():
            ranked = self.matrices.ranked(name)
            self._write(name, ranked >= phi if at_least else ranked > phi)

    def thresholds(self, *, at_least: bool) -> dict[str, Tensor]:
        """φ of each matrix: the largest value to be pruned; with `at_least` the smallest kept."""
        found: dict[str, Tensor] = {}
        for name, zeros in self.matrices.zeros.items():
            values = self.matrices.ranked(name).view(-1).sort().values
            first, last = (values.new_full((1,), end) for end in (-torch.inf, torch.inf))
            found[name] = torch.cat([first, values, last])[zeros + at_least]
        return found

    def _write(self, name: str, keep: Tensor) -> None:
        weights = self.matrices.weights[name].detach()
        weights.copy_(self.matrices.dense[name]).masked_fill_(~keep, 0.0)


def keep_by_sorting(values: Tensor, zeros: int) -> Tensor:
    """Return True where a value is kept; the `zeros` smallest are not, of equal ones the first."""
    order = _in_order(values)
    keep = torch.ones_like(order, dtype=torch.bool).index_fill_(0, order[:zeros], False)
    return keep.view(values.shape)


def _in_order(values: Tensor) -> Tensor:
    """Return the flat indices from the smallest value to the largest, of equal ones the first."""
    return values.reshape(-1).sort(stable=True).indices
