"""The four kinds of work, each with just the fields that decide its result."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from tamt_ray.spec.method import Distillation, Scoring
from tamt_ray.spec.sweep import PretrainEval
from tamt_ray.spec.task import Task
from tamt_ray.values.base import Fraction, Frozen
from tamt_ray.values.model import HeadTraining, Model
from tamt_ray.values.optimizer import Optimizer
from tamt_ray.values.source import Source
from tamt_ray.values.table import Corpus, Table
from tamt_ray.values.training import Training

Kind = Literal["head", "search", "pretrain_eval", "finetune"]
KINDS: tuple[Kind, ...] = ("head", "search", "pretrain_eval", "finetune")


class _Config(Frozen):
    """`version` of a kind is raised by hand whenever its code changes a result."""

    version: ClassVar[int] = 1
    in_gang: ClassVar[bool] = False
    """Whether it trains on text, in a search gang; everything else goes to the fine-tune fleet."""

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the units whose results this one reads."""
        return ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """What it reads rows of."""
        return ()


class HeadConfig(_Config):
    """Trains an MLM head on the frozen dense encoder."""

    in_gang: ClassVar[bool] = True
    kind: Literal["head"] = "head"
    model: Model
    corpus: Corpus
    training: HeadTraining

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.corpus.train,)


class _SearchConfig(_Config):
    kind: Literal["search"] = "search"
    model: Model
    sparsity: Fraction

    @property
    def iterations(self) -> int | None:
        """Training steps behind the mask, 0 where none are; None where only others know."""
        return 0


class RandomConfig(_SearchConfig):
    """A uniform random subset."""

    method: Literal["random"] = "random"
    seed: int


class OmpConfig(_SearchConfig):
    """Magnitude pruning of θ0."""

    method: Literal["omp"] = "omp"


class GivenConfig(_SearchConfig):
    """A mask out of a file; what was in it is in the record, beside the other sources."""

    method: Literal["given"] = "given"
    file: Source

    @property
    def iterations(self) -> None:
        """None."""
        return


class ImpConfig(_SearchConfig):
    """One IMP level: trains θ0 under the mask below it, prunes to `sparsity`.

    Without `below`, the mask below is OMP at `start`, computed in place. Without `rewind` the
    weights trained below are trained on instead of θ0. Its data begins where that of the level
    below ended.
    """

    version: ClassVar[int] = 2
    in_gang: ClassVar[bool] = True
    method: Literal["imp"] = "imp"
    corpus: Corpus
    training: Training
    optimizer: Optimizer
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
    def tables(self) -> tuple[Table, ...]:
        return (self.corpus.train,)

    @property
    def iterations(self) -> int:
        """Training steps of this level and all below it."""
        return self.steps * (round(self.sparsity / self.start) - 1)

    @property
    def first(self) -> int:
        """Training steps of all levels below it."""
        return self.iterations - self.steps


class TamtConfig(_SearchConfig):
    """One mask training."""

    in_gang: ClassVar[bool] = True
    method: Literal["tamt_mlm", "tamt_kd", "tamt_mlm_kd"]
    corpus: Corpus
    training: Training
    optimizer: Optimizer
    scoring: Scoring = Scoring()
    distillation: Distillation = Distillation()
    seed: int
    steps: int
    head: str | None = None
    workers: int | None = None
    """As for `ImpConfig`."""

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.head,) if self.head else ()

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.corpus.train,)

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

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.corpus.validation,)


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

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.task.train, *self.task.validation)


SearchConfig = RandomConfig | OmpConfig | GivenConfig | ImpConfig | TamtConfig
UnitConfig = HeadConfig | SearchConfig | PretrainEvalConfig | FinetuneConfig
_ADAPTER: TypeAdapter[UnitConfig] = TypeAdapter(
    Annotated[
        HeadConfig
        | Annotated[SearchConfig, Field(discriminator="method")]
        | PretrainEvalConfig
        | FinetuneConfig,
        Field(discriminator="kind"),
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
