"""Iterative magnitude pruning under the MLM loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import ClassVar, Literal, Self

from pydantic import Field

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Look, Method, Search, fault
from tamt_ray.methods.omp import OmpSearch
from tamt_ray.methods.trained import TrainedMethod, TrainedSearch
from tamt_ray.objectives.base import Objective
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.values.base import Count, Fraction
from tamt_ray.values.identity import identity
from tamt_ray.values.model import Defaults, ModelSize, Recipe
from tamt_ray.values.pattern import PatternForm, at

_WEIGHTS = "weights.safetensors"


class ImpSearch(TrainedSearch):
    """One level: trains θ0 under the mask below it, prunes to `sparsity`.

    Without `level_below`, the mask below is OMP at `start`, computed in place. Without `rewind` the
    weights trained below are trained on instead of θ0. Its data begin where those of the level
    below ended.
    """

    version: ClassVar[int] = 2
    method: Literal["imp"] = "imp"
    start: Fraction
    rewind: bool = True
    level_below: str | None = None

    @property
    def below(self) -> str | None:
        return self.level_below

    @property
    def iterations(self) -> int:
        return self.steps * (levels(self.sparsity, self.start) - 1)

    @property
    def weight_bytes(self) -> float:
        return 0.0 if self.rewind else 4.0

    def operations(self, size: ModelSize) -> float:
        return self.step_operations(size)

    def find(self, bench: Bench) -> Found:
        from safetensors.torch import save

        from tamt_ray.masks.mask import Mask
        from tamt_ray.search.imp import Subnetwork, prune_trained

        model = bench.model(self.head)
        below = (
            bench.mask(self.level_below)
            if self.level_below
            else Mask.by_magnitude(model.dense, self.start, pattern=at(self.pattern, self.start))
        )
        weights = None
        if self.level_below and not self.rewind:
            weights = bench.tensors(self.level_below, _WEIGHTS)
        subnetwork = Subnetwork(model, below, weights)
        first = self.iterations - self.steps
        history = bench.train(self, model, (Mlm(),), subnetwork, first=first)
        mask = prune_trained(model, below, self.sparsity, self.pattern)
        artifacts = {} if self.rewind else {_WEIGHTS: save(subnetwork.weights())}
        return Found(mask, history, artifacts)


class Imp(TrainedMethod):
    """Iterative magnitude pruning under the MLM loss, every level rewound to θ0.

    Level `step` is OMP; each further level trains θ0 under the mask below for `steps` steps and
    removes another `step` of all weights.
    """

    looks: ClassVar[Mapping[str, Look]] = {"imp": ("#009e73", "triangle-right")}
    unit: ClassVar[type[Search]] = ImpSearch
    only_choices: ClassVar[frozenset[str]] = frozenset({"step"})
    starts_anew: ClassVar[bool] = True
    method: Literal["imp"] = "imp"
    """Name of the method."""
    step: float = Field(default=0.1, gt=0, lt=1)
    """Sparsity added by one level."""
    steps: Count = 2792
    """Training steps of one level."""
    intervals: tuple[Count, ...] = ()
    """Further chains with so many steps per level, compared by iterations and time (Fig. 6)."""
    rewind: bool = True
    """Off: a level hands its trained weights to the next instead of going back to θ0."""

    @classmethod
    def defaults(cls, recipe: Recipe, entry: Mapping[str, object]) -> Defaults:
        """The released code's saved state aliases the live tensors: its rewinding does nothing."""
        return {"rewind": False, "early_eps": True} if recipe == "released_code" else {}

    @property
    def paper_role(self) -> str:
        return "imp"

    @property
    def terms(self) -> tuple[Objective, ...]:
        return (Mlm(),)

    def check(self, grid: Grid) -> None:
        """Refuse a sparsity that no level reaches."""
        for sparsity in grid.sparsities:
            if sparsity > 0 and not _reaches(sparsity, self.step):
                raise fault(
                    f"IMP with `step: {self.step}` never meets sparsity {sparsity}; "
                    f"choose a step that divides it",
                    "step",
                )
        form = PatternForm.read(self.pattern)
        if form.of and abs(self.step * form.of[1] - round(self.step * form.of[1])) > 1e-6:
            raise fault(
                f"a level of {self.step} prunes no whole number of {form.of[1]} weights; pattern "
                f"{self.pattern} needs `step: {1 / form.of[1]:.4g}` or a multiple",
                "step",
            )

    def searches(self, grid: Grid) -> Iterator[Asked]:
        """Yield the levels up to each sparsity."""
        others = tuple(steps for steps in self.intervals if steps != self.steps)
        for sparsity in grid.sparsities:
            if levels(sparsity, self.step) <= 1:
                # The first level is OMP: nothing is trained, so all seeds share the one mask.
                search = OmpSearch(model=grid.model, sparsity=sparsity, pattern=self.pattern)
                yield Asked(search)
                continue
            for seed, steps in product(grid.mask_seeds, (self.steps, *others)):
                yield from self._chain(grid, sparsity, seed, steps)

    def _chain(self, grid: Grid, sparsity: float, seed: int, steps: int) -> Iterator[Asked]:
        """Yield the levels up to `sparsity`, without the first one, which is OMP."""
        numbers = range(1, levels(sparsity, self.step) + 1)
        reached = [round(number * self.step, 10) for number in numbers]
        optimizer, text = self.optimizer(), grid.corpus.training()
        below: str | None = None
        for _, level in pairwise(reached):
            search = ImpSearch(
                model=grid.model, text=text, training=self.training(grid), optimizer=optimizer,
                sparsity=level, pattern=at(self.pattern, level), seed=seed, steps=steps,
                start=reached[0], rewind=self.rewind, level_below=below, head=grid.head,
                workers=grid.workers,
            )  # fmt: skip
            checkpoint = None if steps == self.steps else search.iterations
            yield Asked(search, seed, checkpoint, compared=level == reached[-1])
            below = identity(search)

    def settings(self) -> tuple[str, str]:
        words = f"{self.steps:,} steps per level of {self.step * 100:.4g} %"
        return self.optimiser_words(), words if self.rewind else f"{words}, no rewinding"

    def trial(self, steps: int, sparsity: float) -> Self:
        """Share the steps out among the levels that train."""
        share = steps // (levels(sparsity, self.step) - 1)
        return self.model_copy(update={"steps": share, "intervals": ()})

    def check_trial(self, rungs: Sequence[int], sparsity: float) -> None:
        """Refuse a sparsity that no trained level reaches, and a rung without a step per level."""
        if not _reaches(sparsity, self.step) or levels(sparsity, self.step) < 2:
            raise fault(
                f"IMP with `step: {self.step}` does not train its way to sparsity {sparsity}; "
                "choose a step that divides it"
            )
        trained = levels(sparsity, self.step) - 1
        if rungs[0] < trained:
            raise fault(
                f"the first rung of {rungs[0]} steps is too short for the {trained} levels that "
                "IMP trains"
            )

    def joined(self, other: Method) -> Self | None:
        """Parts of a union may ask for different intervals of one method."""
        if not isinstance(other, Imp):
            return None
        every = tuple(sorted({*self.intervals, *other.intervals}))
        return self._with_all(other, {"intervals": every})


def levels(sparsity: float, step: float) -> int:
    """Return the number of levels up to a sparsity; the first one is OMP and trains nothing."""
    return round(sparsity / step)


def _reaches(sparsity: float, step: float) -> bool:
    return levels(sparsity, step) >= 1 and abs(sparsity / step - levels(sparsity, step)) <= 1e-6
