"""The contract of a method that trains on text, beside that of every method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from tamt_ray.methods.base import Grid, Method
from tamt_ray.methods.search import TrainedSearch
from tamt_ray.objectives.base import curves
from tamt_ray.values.base import Count
from tamt_ray.values.training import Optimizer, Training

# With what a plug-in needs beside it.
__all__ = ["TrainedMethod", "TrainedSearch"]


class TrainedMethod(Method, Optimizer):
    """A method that trains on text, whose settings a `tune:` section can look for."""

    not_tuned: ClassVar[frozenset[str]] = frozenset(
        {"method", "name", "recipe", "pattern", "steps"}
    )
    """Fields that are no settings, and the length: the rungs say how long a trial is."""
    only_choices: ClassVar[frozenset[str]] = frozenset()
    """Settings without values between two others."""
    starts_anew: ClassVar[bool] = False
    """True where a longer trial has no step in common with a shorter one."""
    decay_steps: Count | None = None
    """Steps over which the learning rate falls linearly to zero; default `search.decay_steps`."""

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses that it makes small, as `Objective.curve` has them."""
        return curves(self.terms)

    @abstractmethod
    def trial(self, steps: int, sparsity: float) -> Self:
        """Return the method that reaches `sparsity` in `steps` optimiser steps."""

    def check_trial(self, rungs: Sequence[int], sparsity: float) -> None:
        """Raise `fault(complaint)` where no trial can have these lengths and this sparsity."""

    def optimiser_words(self) -> str:
        """Return the optimiser in words, for the settings table."""
        per_tensor = " per tensor" if self.clip_per == "tensor" else ""
        early = " before correction" if self.early_eps else ""
        head = f", MLM head {self.head_lr:g}" if self.head_lr else ""
        lasts = f", to zero over {self.decay_steps:,} steps" if self.decay_steps else ""
        return (
            f"{'AdamW' if self.bias_correction else 'BertAdam'}, lr {self.lr:g}{head}, "
            f"β {self.betas[0]:g}/{self.betas[1]:g}, ε {self.eps:g}{early}, "
            f"decay {self.weight_decay:g}, clip {self.clip:g}{per_tensor}{lasts}"
        )

    def training(self, grid: Grid) -> Training:
        """Return what all searches share, with the method's own schedule where it has one."""
        if self.decay_steps is None:
            return grid.training
        return grid.training.model_copy(update={"decay_steps": self.decay_steps})

    def optimizer(self) -> Optimizer:
        """Return the optimiser's own settings."""
        return Optimizer.model_validate(self.model_dump(include=set(Optimizer.model_fields)))
