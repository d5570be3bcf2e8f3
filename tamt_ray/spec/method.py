"""The ways to find a subnetwork (PAPER §2)."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from tamt_ray.spec.base import Count, Fraction, Frozen, Name, Positive


def _one_or_table(steps: object) -> str:
    return "table" if isinstance(steps, dict) else "number"


Steps = Annotated[
    Annotated[Count, Tag("number")] | Annotated[dict[float, Count], Tag("table")],
    Discriminator(_one_or_table),
]
"""Optimiser steps: one number, or one for each sparsity."""

TAMT_STEPS: dict[float, int] = {
    0.2: 3000, 0.3: 6000, 0.4: 8000, 0.5: 11000, 0.6: 14000, 0.7: 17000, 0.8: 20000, 0.9: 22000,
}  # fmt: skip
"""PAPER §3, "steps behind each sparsity"."""


class Training(Frozen):
    """What all trained searches of a sweep share (PAPER §3)."""

    batch_size: Count = 16
    """Blocks a step over all workers together."""
    micro_batch: Count = 4
    """Blocks computed at once; workers share a batch in such pieces, so that their number does not
    change the result."""
    horizon: Count = 27920
    """Steps over which the learning rate falls linearly to zero, whatever the step limit."""
    weight_decay: float = Field(default=0.0, ge=0)
    eps: Positive = 1e-8
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    clip: Positive = 1.0
    """Largest global gradient norm."""
    log_every: Count = 50
    """Steps between two points of the logged curves."""


class Random(Frozen):
    """A uniform random subset of each matrix."""

    method: Literal["random"] = "random"
    name: Name = "random"


class Omp(Frozen):
    """One-shot magnitude pruning of θ0; deterministic, so it has no seed."""

    method: Literal["omp"] = "omp"
    name: Name = "omp"


class Imp(Frozen):
    """Iterative magnitude pruning under the MLM loss, every level rewound to θ0.

    Level `step` is OMP; each further level trains θ0 under the mask below for `steps` steps and
    removes another `step` of all weights.
    """

    method: Literal["imp"] = "imp"
    name: Name = "imp"
    step: float = Field(default=0.1, gt=0, lt=1)
    """Sparsity added by one level."""
    steps: Count = 2792
    """Training steps of one level."""
    lr: Positive = 5e-5


class Tamt(Frozen):
    """Task-agnostic mask training: scores learned straight-through (Eq. 3–5)."""

    method: Literal["tamt_mlm", "tamt_kd", "tamt_mlm_kd"]
    name: Name = ""
    init: Literal["omp", "random"] = "omp"
    """Which mask the scores start from."""
    steps: Steps = Field(default_factory=lambda: dict(TAMT_STEPS))
    lr: Positive = 5e-5
    threshold: Positive = 0.01
    """φ at the start."""
    scale: float = Field(default=2.0, gt=1)
    """α: a kept weight starts with the score αφ, a pruned one with 0."""
    ranking: Literal["signed", "magnitude"] = "signed"
    """What is ranked to find φ: S, or |S|. Only S itself lets M = 1[S ≥ φ] hold the sparsity
    exactly; |S| brings weights back whose scores the gradient has pushed far below zero."""


Method = Annotated[Random | Omp | Imp | Tamt, Discriminator("method")]
METHODS = ("random", "omp", "imp", "tamt_mlm", "tamt_kd", "tamt_mlm_kd")


def steps_at(steps: Steps, sparsity: float) -> int | None:
    """Steps for one sparsity; None where a per-sparsity table lacks it."""
    return steps.get(sparsity) if isinstance(steps, dict) else steps
