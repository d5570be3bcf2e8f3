"""Scores start where the first mask is the one asked for, to the bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.masks.mask import Mask
from tamt_ray.masks.select import keep_largest, zeros_at
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.start import first_scores
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.scoring import Scoring

GRADED = Scoring(init="graded")
LoadModel = Callable[[Path], LanguageModel]


def test_graded_scores_are_ranks_by_hand() -> None:
    weight = torch.tensor([[0.3, -0.1], [0.2, -0.4]])
    keep = torch.tensor([[True, False], [False, True]])
    scores = first_scores(weight, keep, 0.5, GRADED)
    assert torch.allclose(scores, torch.tensor([[0.75, 0.25], [0.5, 1.0]]))


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.701, 0.9])
@pytest.mark.parametrize("comparison", ["at_least", "above"])
@pytest.mark.parametrize("every", [1, 7])
def test_the_first_mask_is_that_of_magnitude_pruning(
    bert: Path, load: LoadModel, sparsity: float, comparison: str, every: int
) -> None:
    model = load(bert)
    scoring = Scoring.model_validate(
        {"init": "graded", "comparison": comparison, "rerank_every": every}
    )
    weights = MaskedWeights(model, sparsity, scoring, seed=1)
    omp = Mask.by_magnitude(model.dense, sparsity)
    assert all(torch.equal(keep, omp[name]) for name, keep in weights.mask().items())
    for name, weight in model.matrices.items():
        assert torch.equal(weight.data, model.dense[name] * omp[name])


def test_ranks_beyond_the_precision_of_float32_keep_the_cut() -> None:
    """Of 2^24 + 2^20 ranks many have one float32 number; equal weights add to it."""
    count = 2**24 + 2**20
    weight = torch.randint(0, 1000, (1, count), generator=torch.Generator().manual_seed(0)).float()
    zeros = zeros_at(0.9, count)
    omp = keep_largest(weight, zeros)
    scores = first_scores(weight, omp, 0.9, GRADED)
    assert torch.equal(keep_largest(scores, zeros), omp)
