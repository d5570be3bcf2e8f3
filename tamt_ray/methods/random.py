"""A uniform random subset of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import ClassVar, Literal

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Look, Method, Search


class RandomSearch(Search):
    """A uniform random subset of each matrix."""

    method: Literal["random"] = "random"
    seed: int

    def find(self, bench: Bench) -> Found:
        from tamt_ray.masks.mask import Mask

        return Found(
            Mask.at_random(bench.model().dense, self.sparsity, self.seed, pattern=self.pattern)
        )


class Random(Method):
    """A uniform random subset of each matrix."""

    looks: ClassVar[Mapping[str, Look]] = {"random": ("#7a7a7a", "cross")}
    unit: ClassVar[type[Search]] = RandomSearch
    method: Literal["random"] = "random"
    """Name of the method."""

    @property
    def paper_role(self) -> str:
        return "random"

    def searches(self, grid: Grid) -> Iterator[Asked]:
        for sparsity, seed in product(grid.sparsities, grid.mask_seeds):
            search = RandomSearch(
                model=grid.model, sparsity=sparsity, pattern=self.pattern, seed=seed
            )
            yield Asked(search, mask_seed=seed)
