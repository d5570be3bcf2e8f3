"""The four kinds of work, each with just the fields that decide its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from tamt_ray.plan.identity import identity
from tamt_ray.spec.base import Fraction, Frozen
from tamt_ray.spec.method import Training
from tamt_ray.spec.model import HeadTraining, Model
from tamt_ray.spec.sweep import PretrainEval
from tamt_ray.spec.table import Corpus
from tamt_ray.spec.task import Task

Kind = Literal["head", "search", "pretrain_eval", "finetune"]
KINDS: tuple[Kind, ...] = ("head", "search", "pretrain_eval", "finetune")


class _Config(Frozen):
    """`version` of a kind is raised by hand whenever its code changes a result."""

    version: ClassVar[int] = 1

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the units whose results this one reads."""
        return ()


class HeadConfig(_Config):
    """Trains an MLM head on the frozen dense encoder."""

    kind: Literal["head"] = "head"
    model: Model
    corpus: Corpus
    training: HeadTraining


class RandomConfig(_Config):
    """A uniform random subset."""

    kind: Literal["search"] = "search"
    method: Literal["random"] = "random"
    model: Model
    sparsity: Fraction
    seed: int


class OmpConfig(_Config):
    """Magnitude pruning of θ0."""

    kind: Literal["search"] = "search"
    method: Literal["omp"] = "omp"
    model: Model
    sparsity: Fraction


class ImpConfig(_Config):
    """One IMP level: trains θ0 under the mask below it, prunes to `sparsity`.

    Without `below`, the mask below is OMP at `start`, computed in place.
    """

    kind: Literal["search"] = "search"
    method: Literal["imp"] = "imp"
    model: Model
    corpus: Corpus
    training: Training
    sparsity: Fraction
    seed: int
    steps: int
    lr: float
    start: Fraction
    below: str | None = None
    head: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(parent for parent in (self.below, self.head) if parent)


class TamtConfig(_Config):
    """One mask training."""

    kind: Literal["search"] = "search"
    method: Literal["tamt_mlm", "tamt_kd", "tamt_mlm_kd"]
    model: Model
    corpus: Corpus
    training: Training
    sparsity: Fraction
    seed: int
    steps: int
    lr: float
    init: Literal["omp", "random"] = "omp"
    threshold: float = 0.01
    scale: float = 2.0
    ranking: Literal["signed", "magnitude"] = "signed"
    head: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.head,) if self.head else ()


class PretrainEvalConfig(_Config):
    """MLM and KD loss of one mask, or of the dense model."""

    kind: Literal["pretrain_eval"] = "pretrain_eval"
    model: Model
    corpus: Corpus
    evaluation: PretrainEval
    mask: str | None = None
    head: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(parent for parent in (self.mask, self.head) if parent)


class FinetuneConfig(_Config):
    """One fine-tune of one mask, or of the dense model, on one task."""

    kind: Literal["finetune"] = "finetune"
    model: Model
    task: Task
    seed: int
    mask: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.mask,) if self.mask else ()


SearchConfig = Annotated[
    RandomConfig | OmpConfig | ImpConfig | TamtConfig, Field(discriminator="method")
]
UnitConfig = (
    HeadConfig
    | RandomConfig
    | OmpConfig
    | ImpConfig
    | TamtConfig
    | PretrainEvalConfig
    | FinetuneConfig
)
_ADAPTER: TypeAdapter[UnitConfig] = TypeAdapter(
    Annotated[
        HeadConfig | SearchConfig | PretrainEvalConfig | FinetuneConfig, Field(discriminator="kind")
    ]
)


def parse_config(data: Mapping[str, object]) -> UnitConfig:
    """The config written by `config_dict`. Raises pydantic.ValidationError."""
    return _ADAPTER.validate_python(data)


def config_dict(config: UnitConfig) -> dict[str, object]:
    """JSON form with defaults dropped and the discriminators kept."""
    data = config.model_dump(mode="json", exclude_defaults=True, exclude={"model"})
    data["kind"] = config.kind
    if config.kind == "search":
        data["method"] = config.method
    if isinstance(config, FinetuneConfig):
        task = config.task
        data["task"]["kind"] = task.kind
    # The pooling matters to fine-tunes alone; a trained head is a parent, the size an estimate.
    decisive = {"source", "pooling"} if isinstance(config, FinetuneConfig) else {"source"}
    data["model"] = config.model.model_dump(mode="json", exclude_defaults=True, include=decisive)
    return data


@dataclass(frozen=True)
class Unit:
    """One piece of work: what it is, and how this sweep names it.

    Labels are the sweep's own words (model, method, task) and never enter the identity.
    """

    config: UnitConfig
    labels: Mapping[str, str | float | int] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """64 hex digits."""
        return identity({"version": self.config.version, **config_dict(self.config)})

    @property
    def kind(self) -> Kind:
        """Which of the four kinds."""
        return self.config.kind

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the units whose results this one reads."""
        return self.config.parents

    @property
    def trains_in_gang(self) -> bool:
        """Whether a search gang runs it; everything else goes to the fine-tune fleet."""
        return isinstance(self.config, HeadConfig | ImpConfig | TamtConfig)

    def __str__(self) -> str:
        words = " ".join(str(value) for value in self.labels.values())
        return f"{self.kind} {words} [{self.id[:8]}]"
