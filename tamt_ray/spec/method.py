"""The ways to find a subnetwork."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from tamt_ray.spec.recipe import Recipe
from tamt_ray.values.base import Count, Frozen, Name, Positive
from tamt_ray.values.optimizer import Optimizer
from tamt_ray.values.source import Source, parse_source


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
"""The steps of TAMT behind each sparsity, as the paper has them."""


class Random(Frozen):
    """A uniform random subset of each matrix."""

    method: Literal["random"] = "random"
    """Which method this is."""
    name: Name = "random"
    """Label in tables, figures and unit paths, unique in the sweep."""
    recipe: Recipe = "paper"
    """No setting of this method depends on it."""


class Omp(Frozen):
    """One-shot magnitude pruning of θ0; deterministic, so it has no seed."""

    method: Literal["omp"] = "omp"
    """Which method this is."""
    name: Name = "omp"
    """Label in tables, figures and unit paths, unique in the sweep."""
    recipe: Recipe = "paper"
    """No setting of this method depends on it."""


_PLACES = ("model", "sparsity", "seed")


def _mask_files(source: str) -> str:
    for place in re.findall(r"{(.*?)}", source):
        if place not in _PLACES:
            known = ", ".join(f"{{{name}}}" for name in _PLACES)
            raise ValueError(f"{{{place}}} stands for nothing; what stands for something: {known}")
    if parse_source(source).scheme == "hf":
        raise ValueError("masks are files: dir:<path> or pypi:<name>==<version>/<path>#sha256=…")
    return source


class Given(Frozen):
    """Masks found elsewhere, read from files and compared with all the others."""

    method: Literal["given"] = "given"
    """Which method this is."""
    name: Name = "given"
    """Label in tables, figures and unit paths, unique in the sweep."""
    recipe: Recipe = "paper"
    """No setting of this method depends on it."""
    masks: Annotated[Source, AfterValidator(_mask_files)]
    """The file of each mask, where `{model}`, `{sparsity}` and `{seed}` stand for their values, as
    in `dir:masks/{model}-{sparsity}-{seed}.safetensors`; without `{seed}` there is one a sparsity.
    One bit a weight as `tamt export` writes them, or safetensors of flags (0 and 1) under the names
    of the weights."""

    @property
    def by_seed(self) -> bool:
        """Whether each mask seed has a file of its own."""
        return "{seed}" in self.masks

    def file(self, model: str, sparsity: float, seed: int) -> str:
        """The source of one mask."""
        places = {"model": model, "sparsity": f"{sparsity:.10g}", "seed": str(seed)}
        return re.sub(r"{(.*?)}", lambda place: places[place[1]], self.masks)


class Imp(Optimizer):
    """Iterative magnitude pruning under the MLM loss, every level rewound to θ0.

    Level `step` is OMP; each further level trains θ0 under the mask below for `steps` steps and
    removes another `step` of all weights.
    """

    method: Literal["imp"] = "imp"
    """Which method this is."""
    name: Name = "imp"
    """Label in tables, figures and unit paths, unique in the sweep."""
    recipe: Recipe = "paper"
    """Whose defaults fill in what is not given; the sweep's `recipe` by default."""
    step: float = Field(default=0.1, gt=0, lt=1)
    """Sparsity added by one level."""
    steps: Count = 2792
    """Training steps of one level."""
    intervals: tuple[Count, ...] = ()
    """Further chains with so many steps a level, compared by iterations and time (Fig. 6)."""
    rewind: bool = True
    """Off: a level hands its trained weights to the next instead of going back to θ0."""


class Scoring(Frozen):
    """How scores begin and become a mask: S = αφ where the first mask keeps, else 0 (Eq. 5)."""

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


class Distillation(Frozen):
    """What the hidden-state distillation reads and averages over (Eq. 6)."""

    kd_text: Literal["blocks", "paragraphs"] = "blocks"
    """Packed blocks, or one paragraph an example, padded to the block size."""
    kd_pads: bool = False
    """Average over padding as well as over real tokens."""
    teacher_dropout: bool = False
    """Dropout in the dense teacher's forward pass."""


class Tamt(Optimizer, Scoring, Distillation):
    """Task-agnostic mask training: scores learned straight-through (Eq. 3–5)."""

    method: Literal["tamt_mlm", "tamt_kd", "tamt_mlm_kd"]
    """The objective: MLM loss, hidden-state distillation (KD), or their sum."""
    name: Name = ""
    """Label in tables, figures and unit paths, unique in the sweep; the method's own by default."""
    recipe: Recipe = "paper"
    """Whose defaults fill in what is not given; the sweep's `recipe` by default."""
    steps: Steps = Field(default_factory=lambda: dict(TAMT_STEPS))
    """Optimiser steps: one number, or a table by sparsity; by default the paper's, 3,000 at 0.2 to
    22,000 at 0.9."""
    checkpoints: tuple[Count, ...] = ()
    """Further steps at which the mask is kept and compared too (Fig. 5–8)."""


Method = Annotated[Random | Omp | Given | Imp | Tamt, Discriminator("method")]
METHODS = ("random", "omp", "given", "imp", "tamt_mlm", "tamt_kd", "tamt_mlm_kd")


def steps_at(steps: Steps, sparsity: float) -> int | None:
    """Steps for one sparsity; None where a per-sparsity table lacks it."""
    return steps.get(sparsity) if isinstance(steps, dict) else steps
