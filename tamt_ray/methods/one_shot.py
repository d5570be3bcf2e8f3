"""The contract of a method that scores the weights of θ0 once and keeps the largest scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Method, Search, fault
from tamt_ray.values.base import Count
from tamt_ray.values.model import ModelSize
from tamt_ray.values.pattern import Per, clash
from tamt_ray.values.text import Corruption, Text

if TYPE_CHECKING:
    from torch import Tensor


class OneShotSearch(Search):
    """Keep the largest scores of each matrix, of each row or of the whole model."""

    per: Per = "matrix"

    @abstractmethod
    def scores(self, bench: Bench) -> Mapping[str, Tensor]:
        """Return a score for every weight, [out, in] by the names of `LanguageModel.dense`."""

    def find(self, bench: Bench) -> Found:
        from tamt_ray.masks.mask import Mask

        scores = self.scores(bench)
        return Found(Mask.by_score(scores, self.sparsity, pattern=self.pattern, per=self.per))


class OneShotMethod(Method):
    """A method that scores the weights of θ0 once."""

    per: Per = "matrix"
    """Weights that are ranked together, so that each such group reaches the sparsity: a `matrix`,
    each `row` of it, or all weights of the `model`."""

    def check(self, grid: Grid) -> None:
        """Refuse a pattern that is not ranked so."""
        if complaint := clash(self.pattern, self.per):
            raise fault(complaint, "per" if "per" in self.model_fields_set else "pattern")

    def settings(self) -> tuple[str, str]:
        """Name the weights that are ranked together, where it is not a matrix."""
        return "", "" if self.per == "matrix" else f"ranked per {self.per}"


class CalibratedSearch(OneShotSearch):
    """A one-shot search that reads some text."""

    passes: ClassVar[int] = 3
    """Forward passes that a batch costs; a backward pass counts as two."""
    text: Text
    batches: int
    batch_size: int
    seed: int
    head: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.head,) if self.head else ()

    def operations(self, size: ModelSize) -> float:
        return self.passes * size.forward(self.batches * self.batch_size * self.text.block_size)


class CalibratedMethod(OneShotMethod):
    """A one-shot method that reads some training text: the sequences that a search with the same
    mask seed begins with."""

    corruption: ClassVar[Corruption] = "mlm"
    """`mlm` where it predicts tokens, which takes a head; else `none`."""
    unit: ClassVar[type[CalibratedSearch]]  # pyright: ignore[reportIncompatibleVariableOverride]
    batches: Count = 64
    """Batches of training text."""
    batch_size: Count = 4
    """Sequences per batch."""

    def searches(self, grid: Grid) -> Iterator[Asked]:
        for sparsity, seed in product(grid.sparsities, grid.mask_seeds):
            search = self.unit(
                model=grid.model, sparsity=sparsity, pattern=self.pattern, per=self.per, seed=seed,
                text=grid.corpus.training(corruption=self.corruption), batches=self.batches,
                batch_size=self.batch_size, head=None if self.corruption == "none" else grid.head,
            )  # fmt: skip
            yield Asked(search, mask_seed=seed)

    @property
    @abstractmethod
    def score(self) -> str:
        """The score of a weight in symbols, for the settings table."""

    def settings(self) -> tuple[str, str]:
        """Name the score, the text that is read, and the weights that are ranked
        together."""
        text = f"{self.score} over {self.batches} batches of {self.batch_size}"
        return "", ", ".join(filter(None, (text, super().settings()[1])))
