"""Movement pruning (Sanh et al., 2020) on the MLM loss, rewound to θ0."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import ClassVar, Literal, Self

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Search
from tamt_ray.methods.trained import TrainedMethod, TrainedSearch
from tamt_ray.objectives.base import Objective
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.values.base import Count, Fraction
from tamt_ray.values.model import ModelSize


class MovementSearch(TrainedSearch):
    """One training of weights and scores under a sparsity that rises to the one asked for."""

    method: Literal["movement"] = "movement"
    settle: Fraction = 0.25

    def operations(self, size: ModelSize) -> float:
        return self.step_operations(size)

    def find(self, bench: Bench) -> Found:
        from tamt_ray.search.movement import MovedWeights

        model = bench.model(self.head)
        ramp = self.steps - round(self.settle * self.steps)
        weights = MovedWeights(model, self.sparsity, ramp, self.pattern)
        history = bench.train(self, model, (Mlm(),), weights)
        return Found(weights.mask(), history)


class Movement(TrainedMethod):
    """Movement pruning: weights and straight-through scores trained on the MLM loss together.

    The sparsity rises as a cubic; what is compared is θ0 under the last mask, as for every method.
    Scores start at 0 and only their order counts, so they need no rate of their own.
    """

    unit: ClassVar[type[Search]] = MovementSearch
    starts_anew: ClassVar[bool] = True
    method: Literal["movement"] = "movement"
    """Name of the method."""
    steps: Count = 11000
    """Optimiser steps."""
    settle: Fraction = 0.25
    """Share of the steps, the last ones, at the full sparsity."""

    @property
    def terms(self) -> tuple[Objective, ...]:
        return (Mlm(),)

    def searches(self, grid: Grid) -> Iterator[Asked]:
        for sparsity, seed in product(grid.sparsities, grid.mask_seeds):
            search = MovementSearch(
                model=grid.model, text=grid.corpus.training(), training=self.training(grid),
                optimizer=self.optimizer(), sparsity=sparsity, pattern=self.pattern, seed=seed,
                steps=self.steps, settle=self.settle, head=grid.head, workers=grid.workers,
            )  # fmt: skip
            yield Asked(search, seed)

    def settings(self) -> tuple[str, str]:
        return self.optimiser_words(), f"cubic sparsity, the last {self.settle:.0%} settle"

    def trial(self, steps: int, sparsity: float) -> Self:
        return self.model_copy(update={"steps": steps})
