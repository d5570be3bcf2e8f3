"""The mask of another method with its places drawn anew: a control for what places are worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal

from pydantic import JsonValue, TypeAdapter, ValidationError, model_validator

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Method, Search, fault
from tamt_ray.values.identity import identity

Within = Literal["matrix", "row", "column"]


class ShuffledSearch(Search):
    """One mask, shuffled."""

    method: Literal["shuffled"] = "shuffled"
    of: str
    """Id of the search that found it."""
    within: Within
    seed: int

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.of,)

    def find(self, bench: Bench) -> Found:
        """Permute what is kept: as many weights of each matrix, row or column as before."""
        import torch

        from tamt_ray.masks.mask import Mask

        drawn = torch.Generator().manual_seed(self.seed)
        axis = {"matrix": 0, "row": 1, "column": 0}[self.within]
        found: dict[str, torch.Tensor] = {}
        for name, keep in bench.mask(self.of).items():
            flat = keep.reshape(-1, 1) if self.within == "matrix" else keep
            order = torch.rand(flat.shape, generator=drawn).argsort(dim=axis)
            found[name] = flat.gather(axis, order).view(keep.shape)
        return Found(Mask(found))


class Shuffled(Method):
    """The mask of another method, shuffled within each matrix, row or column.

    As good as the mask itself, only the share that each matrix, row (output) or column (input)
    keeps would matter; as bad as a random mask, only the places.
    """

    unit: ClassVar[type[Search]] = ShuffledSearch
    method: Literal["shuffled"] = "shuffled"
    """Name of the method."""
    of: str | dict[str, JsonValue]
    """The other method: a name such as `omp`, or an entry of its own as under `methods`."""
    within: Within = "matrix"
    """Range in which a kept weight's place is drawn anew: its `matrix`, its `row` (the weights of
    one output) or its `column` (those of one input)."""

    @cached_property
    def other(self) -> Method:
        """The entry `of`. Raises ValidationError."""
        from tamt_ray.methods.registry import METHODS, method_entry

        adapter: TypeAdapter[Method] = TypeAdapter(METHODS.entry("method"))
        return adapter.validate_python(method_entry(self.of, self.recipe))

    @property
    def control_of(self) -> Method:
        return self.other

    @model_validator(mode="after")
    def _is_a_method(self) -> Shuffled:
        try:
            _ = self.other
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise fault(f"{where}: {first['msg']}", "of") from error
        return self

    def check(self, grid: Grid) -> None:
        self.other.check(grid)

    def searches(self, grid: Grid) -> Iterator[Asked]:
        """Yield the other searches, and behind each of the main results a shuffled mask."""
        for asked in self.other.searches(grid):
            yield replace(asked, compared=False)
            if not asked.compared or asked.checkpoint is not None:
                continue
            for seed in grid.mask_seeds if asked.mask_seed is None else (asked.mask_seed,):
                search = ShuffledSearch(
                    model=grid.model, sparsity=asked.search.sparsity, of=identity(asked.search),
                    within=self.within, seed=seed,
                )  # fmt: skip
                yield Asked(search, seed)

    def settings(self) -> tuple[str, str]:
        return self.other.settings()[0], f"{self.other.name}, shuffled within each {self.within}"
