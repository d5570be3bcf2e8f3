"""A piece of work: its config, which alone decides its result, its identity and its cell."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from tamt_ray.methods.base import Search
from tamt_ray.methods.registry import METHODS
from tamt_ray.objectives.base import OBJECTIVES, Objective, apart, needs_head, passes
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.spec.sweep import PretrainEval
from tamt_ray.tasks.base import TASKS, Task
from tamt_ray.values.config import KINDS, Config, Kind, Lane
from tamt_ray.values.identity import identity
from tamt_ray.values.model import HeadTraining, ModelSize
from tamt_ray.values.plugin import literal_values
from tamt_ray.values.table import Table
from tamt_ray.values.text import Text

if TYPE_CHECKING:
    AnyTask = Task
    Term = Objective
else:
    AnyTask = TASKS.entry("kind")
    Term = OBJECTIVES.entry("objective")

__all__ = [
    "KINDS", "NOWHERE", "Cell", "Config", "FinetuneConfig", "HeadConfig", "Kind",
    "PretrainEvalConfig", "Search", "Unit", "UnitConfig", "parse_config",
]  # fmt: skip

TOKENS = 250_000
"""Tokens that the price assumes for held-out text of unknown size."""
PAPER_TERMS: tuple[Objective, ...] = (Mlm(), Kd())
"""The losses of the paper, measured of every mask."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The names and numbers by which a sweep finds one of its units.

    A coordinate that a kind of unit lacks is empty or None. Names are the sweep's own words, and
    nothing here enters an identity.
    """

    model: str = ""
    method: str = ""
    """`full` for the dense model; empty for an MLM head."""
    sparsity: float = 0.0
    mask_seed: int | None = None
    """None for a deterministic method and for the dense model."""
    checkpoint: int | None = None
    """Optimiser steps of a mask that was kept on the way; None in the main results."""
    task: str = ""
    train_size: int | None = None
    """Training examples of a reduced data set; None for all of them."""
    seed: int | None = None
    """Fine-tuning seed."""

    @property
    def given(self) -> Mapping[str, str | float | int]:
        """The coordinates that are set, by name, in the order of the fields."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if not self.method:
            del values["sparsity"]
        return {name: value for name, value in values.items() if value not in (None, "")}

    @property
    def subnetwork(self) -> "Cell":
        """The subnetwork that a fine-tune or an evaluation is about."""
        return replace(self, task="", train_size=None, seed=None)

    def __str__(self) -> str:
        return " ".join(map(str, self.given.values()))


NOWHERE = Cell()
"""The cell of a unit that belongs to no grid."""


class HeadConfig(Config):
    """Trains an MLM head on the frozen dense encoder."""

    lane: ClassVar[Lane] = "gang"
    decisive: ClassVar[Mapping[str, frozenset[str]]] = {"model": frozenset({"source"})}
    kind: Literal["head"] = "head"
    text: Text
    training: HeadTraining

    def operations(self, size: ModelSize) -> float:
        """Count forward passes of the frozen body, and the training of the head."""
        tokens = self.training.steps * self.training.batch_size * self.text.block_size
        head = ModelSize(0, size.decoder).forward(tokens, self.text.mlm_probability * tokens)
        return size.forward(tokens) + 3 * head


class PretrainEvalConfig(Config):
    """Losses of one mask, or of the dense model, on held-out text."""

    version: ClassVar[int] = 2
    kind: Literal["pretrain_eval"] = "pretrain_eval"
    text: Text
    evaluation: PretrainEval
    objectives: tuple[Term, ...]
    mask: str | None = None
    head: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(parent for parent in (self.mask, self.head) if parent)

    def operations(self, size: ModelSize, text: float = TOKENS) -> float:
        """Count the forward passes over `text` tokens, or as many as the limit leaves of them."""
        limit = self.text.limit
        tokens = min(limit * self.text.block_size, text) if limit else text
        predicted = self.text.mlm_probability * tokens
        # Distillation is not measured of the dense model.
        measured = [term for term in self.objectives if self.mask or not term.distils]
        return sum(
            size.forward(tokens, predicted if needs_head(terms) else 0.0)
            + passes(terms) * size.forward(tokens)
            for terms in apart(measured)
            if terms
        )


class FinetuneConfig(Config):
    """One fine-tune of one mask, or of the dense model, on one task."""

    version: ClassVar[int] = 3
    # The mask names its matrices itself.
    decisive: ClassVar[Mapping[str, frozenset[str]]] = {"model": frozenset({"source", "pooling"})}
    kind: Literal["finetune"] = "finetune"
    task: AnyTask
    seed: int
    mask: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.mask,) if self.mask else ()

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.task.train, *self.task.validation)


UnitConfig = HeadConfig | Search | PretrainEvalConfig | FinetuneConfig


def parse_config(data: Mapping[str, object]) -> UnitConfig:
    """Return the config behind what `written` gave. Raises pydantic.ValidationError, and
    KeyError for a kind or a method that is not installed."""
    kinds: dict[object, type[Config]] = {
        "head": HeadConfig, "pretrain_eval": PretrainEvalConfig, "finetune": FinetuneConfig,
        **{
            ("search", literal_values(kind.unit, "method")[0]): kind.unit
            for kind in METHODS.distinct
        },
    }  # fmt: skip
    kind = data["kind"]
    found = kinds[("search", data["method"]) if kind == "search" else kind]
    config = found.model_validate(_fields(data))
    assert isinstance(config, UnitConfig)
    return config


def _fields(data: object) -> object:
    """Return the fields of a value and of those inside, without what an identity has beside."""
    match data:
        case {"measured": [[_, name, _], *_], **others}:
            return _fields({**others, "metric": name})
        case dict():
            return {
                key: _fields(value)
                for key, value in data.items()
                if key not in {"version", "package"}
            }
        case list():
            return [_fields(item) for item in data]
        case _:
            return data


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work, and its place in the sweep. Only the config enters its identity."""

    config: UnitConfig
    cell: Cell = NOWHERE
    """The first cell that the unit fills; empty outside a grid."""
    after: str | None = None
    """The unit of the same trajectory with the next fewer steps, whose training goes on here."""
    begin: int = 0
    """Optimiser steps that `after` has done."""
    goes_on: bool = False
    """True where another unit continues this one's training."""
    runs_in: Lane | None = None
    """Lane, where it is not that of its kind."""
    id: str = ""
    """64 hex digits; computed from the config by default."""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", identity(self.config))

    @property
    def kind(self) -> Kind:
        """One of the four kinds."""
        return self.config.kind

    @property
    def lane(self) -> Lane:
        """Lane that runs it: gangs for trained searches and the fleet for all else, unless the plan
        sets another."""
        return self.runs_in or self.config.lane

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the units whose results this one reads."""
        return self.config.parents

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the units that come before this one."""
        return (*self.parents, self.after) if self.after else self.parents

    @property
    def trajectory(self) -> str:
        """64 hex digits shared by searches that differ in their length alone; else the id."""
        config = self.config
        return (config.trajectory if isinstance(config, Search) else None) or self.id

    def __str__(self) -> str:
        return f"{self.kind} {self.cell} [{self.id[:8]}]"
