"""One-shot magnitude pruning of θ0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Look, Method, Search


class OmpSearch(Search):
    """The largest |w| of each matrix."""

    method: Literal["omp"] = "omp"

    def find(self, bench: Bench) -> Found:
        """Keep the largest |w|."""
        from tamt_ray.masks.mask import Mask

        return Found(Mask.by_magnitude(bench.model().dense, self.sparsity))


class Omp(Method):
    """One-shot magnitude pruning of θ0; deterministic, so it has no seed."""

    looks: ClassVar[Mapping[str, Look]] = {"omp": ("#e69f00", "square")}
    unit: ClassVar[type[Search]] = OmpSearch
    method: Literal["omp"] = "omp"
    """Which method this is."""

    @property
    def paper_role(self) -> str:
        return "omp"

    def searches(self, grid: Grid) -> Iterator[Asked]:
        """Yield one search per sparsity."""
        for sparsity in grid.sparsities:
            yield Asked(OmpSearch(model=grid.model, sparsity=sparsity))
