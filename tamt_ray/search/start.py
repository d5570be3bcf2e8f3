"""The scores that a mask training starts from."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tamt_ray.masks.mask import Mask
from tamt_ray.masks.select import zeros_at
from tamt_ray.values.scoring import Scoring


def first_mask(weights: Mapping[str, Tensor], sparsity: float, scoring: Scoring, seed: int) -> Mask:
    """Return the mask that the scores start from."""
    if scoring.init == "random":
        return Mask.at_random(weights, sparsity, seed)
    return Mask.by_magnitude(weights, sparsity)


def first_scores(weight: Tensor, keep: Tensor, sparsity: float, scoring: Scoring) -> Tensor:
    """Return S₀ of a matrix, in its shape; `keep` is its first mask.

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
    # float32 has fewer numbers than a large matrix has ranks: keep both sides of the cut apart.
    cut = scores.new_tensor(zeros_at(sparsity, count) / count)
    above = torch.nextafter(cut, cut + 1)
    keep = keep.to(weight.device)
    return torch.where(keep, scores.clamp(min=above), scores.clamp(max=cut))
