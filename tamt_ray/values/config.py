"""The base of every unit's config: just the fields that decide its result."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from tamt_ray.values.base import Frozen
from tamt_ray.values.model import Model, ModelSize
from tamt_ray.values.table import Table
from tamt_ray.values.text import Text

Kind = Literal["head", "search", "pretrain_eval", "finetune"]
KINDS: tuple[Kind, ...] = ("head", "search", "pretrain_eval", "finetune")
Lane = Literal["gang", "fleet"]
"""A gang trains on text with several workers; the fleet does everything else, one worker each."""


class Config(Frozen):
    """One unit of work on a model."""

    version: ClassVar[int] = 1
    """Raised by hand whenever the code changes a result; part of the identity."""
    lane: ClassVar[Lane] = "fleet"
    """Processes that carry it out."""
    decisive: ClassVar[Mapping[str, frozenset[str]]] = {
        "model": frozenset({"source", "prune", "pooler"})
    }
    """Fields of a part that count, where not all of them do."""
    model: Model

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the units whose results this one reads."""
        return ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """Tables that it reads rows of: those of its texts."""
        return tuple(value.table for value in vars(self).values() if isinstance(value, Text))

    @property
    def files(self) -> tuple[str, ...]:
        """Sources of single files that it reads."""
        return ()

    def operations(self, size: ModelSize) -> float:
        """Return roughly the floating-point operations it takes, for the price."""
        return 0.0
