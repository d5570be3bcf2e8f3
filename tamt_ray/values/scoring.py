"""Settings of the scores: their start, and the way from scores to a mask."""

from typing import Literal

from pydantic import Field

from tamt_ray.values.base import Count, Frozen, Positive


class Scoring(Frozen):
    """Start of the scores, S = αφ where the first mask keeps, else 0 (Eq. 5), and the mask
    M = 1[S ≥ φ] (Eq. 3)."""

    init: Literal["omp", "random", "graded"] = "omp"
    """Where the scores start: αφ and 0 by the mask of OMP or a random one, as in the paper; or
    `graded`, the rank of |W| within its matrix, from 0 to 1. Then the first mask is OMP's, weights
    near the cut change first, and a learning rate counts as shares of the weights per step: for
    searches of some hundred steps, where the paper's scores hardly leave their start."""
    threshold: Positive = 0.01
    """φ at the start; not of `graded` scores."""
    scale: float = Field(default=2.0, gt=1)
    """α: a kept weight starts with the score αφ, a pruned one with 0."""
    ranking: Literal["signed", "magnitude"] = "signed"
    """Values that are ranked to find φ: S, or |S|. Only S lets M = 1[S ≥ φ] hold the sparsity
    exactly; |S| brings weights back whose scores the gradient has pushed far below zero."""
    comparison: Literal["at_least", "above"] = "at_least"
    """M = 1[S ≥ φ], ties resolved so that the sparsity is exact; or 1[S > φ] as it comes, with
    int(n·s) of n weights and all ties pruned, from the start on."""
    rerank_every: Count = 1
    """Steps between two choices of φ. Above 1 the density drifts from one to the next."""
    rerank_early: bool = False
    """Choose φ anew after step 1 and then a step early: after step t where `rerank_every` divides
    t + 1."""
