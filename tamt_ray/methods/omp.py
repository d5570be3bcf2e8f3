"""One-shot magnitude pruning of θ0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from tamt_ray.methods.base import Asked, Bench, Grid, Look, Search
from tamt_ray.methods.one_shot import OneShotMethod, OneShotSearch

if TYPE_CHECKING:
    from torch import Tensor


class OmpSearch(OneShotSearch):
    """The largest |w| of each matrix."""

    method: Literal["omp"] = "omp"

    def scores(self, bench: Bench) -> Mapping[str, Tensor]:
        return {name: weight.abs() for name, weight in bench.model().dense.items()}


class Omp(OneShotMethod):
    """One-shot magnitude pruning of θ0; deterministic, so it has no seed."""

    looks: ClassVar[Mapping[str, Look]] = {"omp": ("#e69f00", "square")}
    unit: ClassVar[type[Search]] = OmpSearch
    method: Literal["omp"] = "omp"
    """Name of the method."""

    @property
    def paper_role(self) -> str | None:
        return "omp" if self.per == "matrix" else None

    def searches(self, grid: Grid) -> Iterator[Asked]:
        for sparsity in grid.sparsities:
            search = OmpSearch(
                model=grid.model, sparsity=sparsity, pattern=self.pattern, per=self.per
            )
            yield Asked(search)
