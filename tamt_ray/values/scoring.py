"""How scores begin and become a mask."""

from typing import Literal

from pydantic import Field

from tamt_ray.values.base import Count, Frozen, Positive


class Scoring(Frozen):
    """S = αφ where the first mask keeps, else 0 (Eq. 5); then M = 1[S ≥ φ] (Eq. 3)."""

    init: Literal["omp", "random"] = "omp"
    """Which mask the scores start from."""
    threshold: Positive = 0.01
    """φ at the start."""
    scale: float = Field(default=2.0, gt=1)
    """α: a kept weight starts with the score αφ, a pruned one with 0."""
    ranking: Literal["signed", "magnitude"] = "signed"
    """What is ranked to find φ: S, or |S|. Only S itself lets M = 1[S ≥ φ] hold the sparsity
    exactly; |S| brings weights back whose scores the gradient has pushed far below zero."""
    comparison: Literal["at_least", "above"] = "at_least"
    """M = 1[S ≥ φ], ties resolved so that the sparsity is exact; or 1[S > φ] as it comes."""
    rerank_every: Count = 1
    """Steps between two choices of φ. Above 1 the density drifts from one to the next."""
    rerank_first: bool = False
    """Choose φ anew after the first step too."""
