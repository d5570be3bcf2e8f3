"""Scores start where the first mask is the one asked for, to the bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.masks.mask import Mask
from tamt_ray.masks.select import keep_largest, zeros_at, zeros_below
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.tamt import MaskedWeights, first_mask, first_scores
from tamt_ray.values.training import Scoring

GRADED = Scoring(init="graded")
LoadModel = Callable[[Path], LanguageModel]


def test_graded_scores_are_ranks_by_hand() -> None:
    weight = torch.tensor([[0.3, -0.1], [0.2, -0.4]])
    keep = torch.tensor([[True, False], [False, True]])
    scores = first_scores(weight, keep, 2, GRADED)
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
    omp = Mask.by_magnitude(
        model.dense, sparsity, zeros_below if comparison == "above" else zeros_at
    )
    assert all(torch.equal(keep, omp[name]) for name, keep in weights.mask().items())
    for name, weight in model.matrices.items():
        assert torch.equal(weight.data, model.dense[name] * omp[name])


def test_ranks_beyond_the_precision_of_float32_keep_the_cut() -> None:
    """Of 2^24 + 2^20 ranks many have one float32 number; equal weights add to it."""
    count = 2**24 + 2**20
    weight = torch.randint(0, 1000, (1, count), generator=torch.Generator().manual_seed(0)).float()
    zeros = zeros_at(0.9, count)
    omp = keep_largest(weight, zeros)
    scores = first_scores(weight, omp, zeros, GRADED)
    assert torch.equal(keep_largest(scores, zeros), omp)


@pytest.mark.parametrize(("comparison", "zeros"), [("at_least", 3), ("above", 5)])
def test_the_released_code_counts_down_and_prunes_all_ties(comparison: str, zeros: int) -> None:
    """35 % of 8 weights are 2.8: three, or int(2.8) = 2 and whatever equals the second."""
    weight = torch.tensor([[0.1, -0.2, 0.2, 0.3], [0.2, -0.2, 0.5, 0.4]])
    scoring = Scoring.model_validate({"comparison": comparison})
    (mask,) = first_mask({"a": weight}, 0.35, scoring, 1).values()
    assert int((~mask).sum()) == zeros
    random = Scoring.model_validate({"comparison": comparison, "init": "random"})
    (drawn,) = first_mask({"a": weight}, 0.35, random, 1).values()
    assert int((~drawn).sum()) == (3 if comparison == "at_least" else 2)
    (whole,) = first_mask({"a": weight}, 0.0, scoring, 1).values()
    assert bool(whole.all())
