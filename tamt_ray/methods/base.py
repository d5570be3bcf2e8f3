"""The contract of a method: its entry in a sweep file, and the searches that it asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tamt_ray.methods.search import Bench, Found, Search
from tamt_ray.objectives.base import Objective
from tamt_ray.values.base import Frozen, Name, fault
from tamt_ray.values.config import Lane
from tamt_ray.values.model import Defaults, Model, Recipe
from tamt_ray.values.pattern import UNSTRUCTURED, Pattern
from tamt_ray.values.text import Corpus
from tamt_ray.values.training import Training

# With what a plug-in needs beside it.
__all__ = [
    "Asked", "Bench", "Found", "Grid", "Lane", "Look", "Method", "Search", "fault",
]  # fmt: skip

Look = tuple[str, str]
"""A colour such as `#0072b2` and a shape of Vega-Lite such as `circle` or `triangle-up`."""


@dataclass(frozen=True)
class Grid:
    """The part of a sweep that a method sees: one model of it."""

    name: str
    """The model's name in the sweep."""
    model: Model
    models: int
    """Models of the sweep."""
    head: str | None
    """Id of the unit that trains an output head for the model; None where it has its own."""
    corpus: Corpus
    training: Training
    """Batch, schedule and precision that all trained searches share."""
    sparsities: tuple[float, ...]
    mask_seeds: tuple[int, ...]
    workers: int | None = None
    """DDP workers of a gang, where their number changes the result; else None."""


@dataclass(frozen=True)
class Asked:
    """A search that a grid needs."""

    search: Search
    mask_seed: int | None = None
    """None for a deterministic method."""
    checkpoint: int | None = None
    """Optimiser steps, for a mask of another length than the main results'."""
    compared: bool = True
    """False for a search that only leads to another one."""


class Method(Frozen, ABC):
    """An entry of `methods` in a sweep file.

    A subclass has a field `method: Literal["name"] = "name"` and a docstring of one line.
    """

    unit: ClassVar[type[Search]]
    """Class of its searches."""
    aliases: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Further names, each with the settings that it stands for."""
    looks: ClassVar[Mapping[str, Look]] = {}
    """Colour and shape in figures by name or alias, if it insists on some."""
    name: Name = ""
    """Label in tables, figures and unit paths, unique in the sweep; the method's own by default."""
    recipe: Recipe = "paper"
    """Recipe whose defaults fill in missing settings; the sweep's `recipe` by default."""
    pattern: Pattern = UNSTRUCTURED
    """Weights that are kept or pruned together: `unstructured`; `2:4`, two of four consecutive
    weights of a row are kept; blocks such as `4x1` or `32x32`, rows x columns; `heads:12`, whole
    attention heads, 12 per layer, and whole neurons of the feed-forward layers."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = handler.resolve_ref_schema(handler(schema))
        if cls.aliases:
            own = found["properties"]["method"]
            own["enum"] = [own.pop("const"), *cls.aliases]
            given = {key for settings in cls.aliases.values() for key in settings}
            found["required"] = [key for key in found["required"] if key not in given]
        return found

    @classmethod
    def defaults(cls, recipe: Recipe, entry: Mapping[str, object]) -> Defaults:
        """Return the settings that a recipe fills into an entry; none by default."""
        return {}

    @property
    def label(self) -> str:
        """The method's own name, as in a sweep file."""
        tag: Any = vars(self)["method"]
        return tag

    @property
    def word(self) -> str:
        """The word for it in a sweep file: the method's own name, or an alias that fits."""
        return self.label

    @property
    def paper_role(self) -> str | None:
        """Name of the paper's method that it is; only these enter the claims on the paper."""
        return None

    @property
    def start(self) -> str | None:
        """Mask that its training starts from, where several are offered."""
        return None

    @property
    def control_of(self) -> Method | None:
        """The method that it is a control of: the same, with something taken away. None for any
        other."""
        return None

    @property
    def terms(self) -> tuple[Objective, ...]:
        """Loss terms that it trains on; every mask of the sweep is measured on them."""
        return ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources beside models and tables, as the sweep file has them."""
        return ()

    def check(self, grid: Grid) -> None:
        """Raise `fault(complaint, key)` for a setting that does not fit the grid."""

    @abstractmethod
    def searches(self, grid: Grid) -> Iterator[Asked]:
        """Yield the searches for every sparsity and seed, each behind those that it reads."""

    def settings(self) -> tuple[str, str]:
        """Return the words of the settings table: on the optimiser, and on the mask."""
        return "", ""

    def joined(self, other: Method) -> Self | None:
        """Return what two parts of a union together ask for, where they mean one method."""
        return self if self == other else None

    def _with_all(self, other: Method, both: Mapping[str, object]) -> Self | None:
        """Return this entry with `both` in place, if the two are alike in all else."""
        joined = self.model_copy(update=both)
        return joined if joined == other.model_copy(update=both) else None
