"""Masks found elsewhere, read from files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Method, Search, fault
from tamt_ray.values.table import Source, parse_source

_PLACES = ("model", "sparsity", "seed")


def _mask_files(source: str) -> str:
    for place in re.findall(r"{(.*?)}", source):
        if place not in _PLACES:
            known = ", ".join(f"{{{name}}}" for name in _PLACES)
            raise ValueError(f"{{{place}}} stands for nothing; what stands for something: {known}")
    if parse_source(source).scheme == "hf":
        raise ValueError("masks are files: dir:<path> or pypi:<name>==<version>/<path>#sha256=…")
    return source


class ImportedSearch(Search):
    """A mask from a file; the digest of its content is in the record, beside the other sources."""

    method: Literal["imported"] = "imported"
    file: Source

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file,)

    @property
    def iterations(self) -> None:
        return None

    def find(self, bench: Bench) -> Found:
        """Read the mask and lay it on the model. Raises SourceError or MaskFileError."""
        from tamt_ray.masks.file import imported_mask

        dense = bench.model().dense
        data = bench.file(self.file)
        return Found(imported_mask(data, dense, self.sparsity, self.file, self.pattern))


class Imported(Method):
    """Masks found elsewhere, read from files and compared with all the others."""

    unit: ClassVar[type[Search]] = ImportedSearch
    method: Literal["imported"] = "imported"
    """Name of the method."""
    masks: Annotated[Source, AfterValidator(_mask_files)]
    """The file of each mask, where `{model}`, `{sparsity}` and `{seed}` stand for their values, as
    in `dir:masks/{model}-{sparsity}-{seed}.safetensors`; without `{seed}` there is one per
    sparsity. One bit per weight as `tamt export` writes them, or safetensors of flags (0 and 1)
    under the names of the weights."""

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.masks,)

    def check(self, grid: Grid) -> None:
        """Refuse one file for several models or sparsities."""
        for place, many, plural in (
            ("model", grid.models, "models"),
            ("sparsity", len(grid.sparsities), "sparsities"),
        ):
            if many > 1 and f"{{{place}}}" not in self.masks:
                raise fault(
                    f"one file cannot be the mask of {many} {plural}; put "
                    f"{{{place}}} where its name tells them apart",
                    "masks",
                )

    def searches(self, grid: Grid) -> Iterator[Asked]:
        """Yield one search per file that the name stands for."""
        by_seed = "{seed}" in self.masks
        seeds = grid.mask_seeds if by_seed else grid.mask_seeds[:1]
        for sparsity, seed in product(grid.sparsities, seeds):
            places = {"model": grid.name, "sparsity": f"{sparsity:.10g}", "seed": str(seed)}
            file = re.sub(r"{(.*?)}", lambda place, known=places: known[place[1]], self.masks)
            search = ImportedSearch(
                model=grid.model, sparsity=sparsity, pattern=self.pattern, file=file
            )
            yield Asked(search, mask_seed=seed if by_seed else None)

    def settings(self) -> tuple[str, str]:
        return "", self.masks
