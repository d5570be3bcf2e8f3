"""The scores that a mask training starts from."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tamt_ray.masks.mask import Mask
from tamt_ray.masks.select import CountZeros, zeros_at, zeros_below
from tamt_ray.values.pattern import UNSTRUCTURED
from tamt_ray.values.training import Scoring


def zeros_of(scoring: Scoring) -> CountZeros:
    """Return how the weights to be pruned are counted: to the nearest number, or with `above` as
    the released code does."""
    return zeros_below if scoring.comparison == "above" else zeros_at


def first_mask(
    weights: Mapping[str, Tensor],
    sparsity: float,
    scoring: Scoring,
    seed: int,
    pattern: str = UNSTRUCTURED,
) -> Mask:
    """Return the mask that the scores start from.

    With `above` all weights as small as the largest pruned one are pruned too.
    """
    zeros = zeros_of(scoring)
    if scoring.init == "random":
        return Mask.at_random(weights, sparsity, seed, zeros, pattern=pattern)
    mask = Mask.by_magnitude(weights, sparsity, zeros, pattern=pattern)
    if scoring.comparison == "at_least":
        return mask
    return Mask({name: _without_ties(keep, weights[name]) for name, keep in mask.items()})


def _without_ties(keep: Tensor, weight: Tensor) -> Tensor:
    size = weight.detach().abs().cpu()
    return size > size.masked_fill(keep, -torch.inf).max()


def first_scores(weight: Tensor, keep: Tensor, zeros: int | None, scoring: Scoring) -> Tensor:
    """Return S₀ of the units of a matrix, its weights where no pattern joins them.

    `keep` is their first mask, of the same shape, with so many `zeros`; None for several groups.

    From `omp` and `random`: αφ where the first mask keeps, else 0. `graded`: the rank of |W| within
    the matrix over its number of weights, so that the first mask is OMP's to the bit and weights
    near the cut change first.
    """
    if scoring.init != "graded":
        return keep.to(weight) * (scoring.scale * scoring.threshold)
    count = weight.numel()
    order = torch.argsort(weight.detach().abs().reshape(-1), stable=True)
    ranks = torch.empty(count, dtype=torch.float64, device=weight.device)
    ranks[order] = torch.arange(1, count + 1, dtype=torch.float64, device=weight.device)
    scores = (ranks / count).to(weight).view(weight.shape)
    if zeros is None:
        return scores
    # float32 has fewer numbers than a large matrix has ranks: keep both sides of the cut apart.
    cut = scores.new_tensor(zeros / count)
    above = torch.nextafter(cut, cut + 1)
    keep = keep.to(weight.device)
    return torch.where(keep, scores.clamp(min=above), scores.clamp(max=cut))
