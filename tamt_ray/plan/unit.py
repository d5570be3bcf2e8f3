"""The four kinds of work, each with just the fields that decide its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, TypeAdapter

from tamt_ray.plan.identity import canonical, digest, identity
from tamt_ray.spec.base import Fraction, Frozen
from tamt_ray.spec.method import Distillation, Scoring, Training
from tamt_ray.spec.model import HeadTraining, Model
from tamt_ray.spec.optimizer import Optimizer
from tamt_ray.spec.source import Source
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


class GivenConfig(_Config):
    """A mask out of a file; what was in it is in the record, beside the other sources."""

    kind: Literal["search"] = "search"
    method: Literal["given"] = "given"
    model: Model
    sparsity: Fraction
    file: Source


class ImpConfig(_Config):
    """One IMP level: trains θ0 under the mask below it, prunes to `sparsity`.

    Without `below`, the mask below is OMP at `start`, computed in place. Without `rewind` the
    weights trained below are trained on instead of θ0. Its data begins where that of the level
    below ended.
    """

    version: ClassVar[int] = 2
    kind: Literal["search"] = "search"
    method: Literal["imp"] = "imp"
    model: Model
    corpus: Corpus
    training: Training
    optimizer: Optimizer
    sparsity: Fraction
    seed: int
    steps: int
    start: Fraction
    rewind: bool = True
    below: str | None = None
    head: str | None = None
    workers: int | None = None
    """Where it decides the result: of a gang that sends rounded gradients."""

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(parent for parent in (self.below, self.head) if parent)

    @property
    def iterations(self) -> int:
        """Training steps of this level and all below it."""
        return self.steps * (round(self.sparsity / self.start) - 1)

    @property
    def first(self) -> int:
        """Training steps of all levels below it."""
        return self.iterations - self.steps


class TamtConfig(_Config):
    """One mask training."""

    kind: Literal["search"] = "search"
    method: Literal["tamt_mlm", "tamt_kd", "tamt_mlm_kd"]
    model: Model
    corpus: Corpus
    training: Training
    optimizer: Optimizer
    scoring: Scoring = Scoring()
    distillation: Distillation = Distillation()
    sparsity: Fraction
    seed: int
    steps: int
    head: str | None = None
    workers: int | None = None
    """As for `ImpConfig`."""

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.head,) if self.head else ()

    @property
    def first(self) -> int:
        """0: there is no search below it."""
        return 0

    @property
    def iterations(self) -> int:
        """Training steps behind the mask."""
        return self.steps


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

    version: ClassVar[int] = 2
    kind: Literal["finetune"] = "finetune"
    model: Model
    task: Task
    seed: int
    mask: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.mask,) if self.mask else ()


SearchConfig = Annotated[
    RandomConfig | OmpConfig | GivenConfig | ImpConfig | TamtConfig, Field(discriminator="method")
]
UnitConfig = (
    HeadConfig
    | RandomConfig
    | OmpConfig
    | GivenConfig
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
    data["model"] = config.model.model_dump(
        mode="json", exclude_defaults=True, include=_decisive(config)
    )
    return data


def _decisive(config: UnitConfig) -> set[str]:
    """The fields of the model that matter: a trained head is a parent, the size an estimate."""
    match config:
        case HeadConfig():
            return {"source"}
        case FinetuneConfig():
            # The mask names its matrices itself.
            return {"source", "pooling"}
        case _:
            return {"source", "prune", "pooler"}


def identity_of(config: UnitConfig) -> str:
    """64 hex digits: the id of the unit with this config."""
    return identity(_whole(config))


class Identities:
    """Ids of many units, as `identity_of` has them; the text of what units share is written once.

    A grid has few models, tasks and corpora and many units, and the text behind an id is mostly
    theirs.
    """

    def __init__(self) -> None:
        self._shared: dict[tuple[int, ...], tuple[UnitConfig, tuple[tuple[str, str], ...]]] = {}
        """By the objects that a config holds; the config beside its texts keeps them alive."""

    def of(self, config: UnitConfig) -> str:
        """64 hex digits."""
        held: list[int] = [id(type(config))]
        texts: list[tuple[str, str]] = []
        defaults = _DEFAULTS[type(config)]
        for name, value in vars(config).items():
            if not isinstance(value, _PLAIN):
                held.append(id(value))
            elif value != defaults.get(name, _REQUIRED):
                texts.append((name, canonical(value)))
        key = tuple(held)
        if key not in self._shared:
            self._shared[key] = config, _shared_texts(config)
        texts.extend(self._shared[key][1])
        texts.sort()
        return digest("{" + ",".join([f'"{name}":{text}' for name, text in texts]) + "}")


_TRAINED = (HeadConfig, ImpConfig, TamtConfig)
_PLAIN = (str, int, float, type(None))
_REQUIRED = object()
_DISCRIMINATORS = {"kind", "method"}
"""Fields that stay although they have their default."""
_DEFAULTS: Mapping[type, Mapping[str, object]] = {
    kind: {
        name: field.default
        for name, field in kind.model_fields.items()
        if not field.is_required() and name not in _DISCRIMINATORS
    }
    for kind in get_args(UnitConfig)
}


def _shared_texts(config: UnitConfig) -> tuple[tuple[str, str], ...]:
    """What stands in a config's text for the version and for the fields that are not plain."""
    plain = {name for name, value in vars(config).items() if isinstance(value, _PLAIN)}
    return tuple(
        (name, canonical(value)) for name, value in _whole(config).items() if name not in plain
    )


def _whole(config: UnitConfig) -> dict[str, object]:
    return {"version": config.version, **config_dict(config)}


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: what it is, and how this sweep names it.

    Labels are the sweep's own words (model, method, task) and never enter the identity; nor does
    `after`, the unit of the same trajectory with the next fewer steps, whose training goes on here
    from the step `begin`, and `goes_on`, whether another unit goes on with this one's.
    """

    config: UnitConfig
    labels: Mapping[str, str | float | int] = field(default_factory=dict)
    after: str | None = None
    begin: int = 0
    goes_on: bool = False
    id: str = ""
    """64 hex digits; found from the config where it is not given."""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", identity_of(self.config))

    @property
    def kind(self) -> Kind:
        """Which of the four kinds."""
        return self.config.kind

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
        """64 hex digits shared by searches that differ only in their last step: the schedule does
        not depend on it, so the longer one passes through the shorter one's result."""
        if not isinstance(self.config, TamtConfig):
            return self.id
        data = _whole(self.config)
        del data["steps"]
        return identity(data)

    @property
    def trains_in_gang(self) -> bool:
        """Whether a search gang runs it; everything else goes to the fine-tune fleet."""
        return isinstance(self.config, _TRAINED)

    def __str__(self) -> str:
        words = " ".join(str(value) for value in self.labels.values())
        return f"{self.kind} {words} [{self.id[:8]}]"
