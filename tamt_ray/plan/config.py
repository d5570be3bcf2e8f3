"""The kinds of work beside searches, each with just the fields that decide its result."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from tamt_ray.methods.base import Search
from tamt_ray.methods.registry import METHODS
from tamt_ray.objectives.base import Objective, apart, passes
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.objectives.registry import OBJECTIVES
from tamt_ray.spec.evaluation import PretrainEval
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.registry import TASKS
from tamt_ray.values.config import KINDS, Config, Kind, Lane
from tamt_ray.values.identity import written
from tamt_ray.values.model import HeadTraining
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
    "KINDS", "Config", "FinetuneConfig", "HeadConfig", "Kind", "PretrainEvalConfig", "Search",
    "UnitConfig", "config_dict", "parse_config",
]  # fmt: skip

TOKENS = 250_000
"""Of held-out text whose size is unknown, for the price."""
PAPER_TERMS: tuple[Objective, ...] = (Mlm(), Kd())
"""The losses of the paper, measured of every mask."""


class HeadConfig(Config):
    """Trains an MLM head on the frozen dense encoder."""

    lane: ClassVar[Lane] = "gang"
    decisive: ClassVar[Mapping[str, frozenset[str]]] = {"model": frozenset({"source"})}
    kind: Literal["head"] = "head"
    text: Text
    training: HeadTraining

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.text.table,)

    @property
    def operations(self) -> float:
        tokens = self.training.steps * self.training.batch_size * self.text.block_size
        return 3 * tokens * self.model.parameters


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

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.text.table,)

    @property
    def operations(self) -> float:
        tokens = self.text.limit * self.text.block_size if self.text.limit else TOKENS
        forward = sum(1 + passes(terms) for terms in apart(self.objectives) if terms)
        return 2 * forward * tokens * self.model.parameters


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


def config_dict(config: UnitConfig) -> dict[str, object]:
    """Return what decides the result, as records keep it: defaults dropped, tags kept."""
    return written(config)


def parse_config(data: Mapping[str, object]) -> UnitConfig:
    """Return the config behind what `config_dict` wrote. Raises pydantic.ValidationError, and
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
