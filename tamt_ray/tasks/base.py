"""The contract of a kind of task, and the kinds that a sweep file may name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, GetJsonSchemaHandler, field_validator
from pydantic_core import CoreSchema, PydanticKnownError

from tamt_ray.tasks.metrics.base import METRICS, Answers, Metric, Predictions, metrics_of
from tamt_ray.values.base import INCIDENTAL, Count, Frozen, Positive, fault
from tamt_ray.values.plugin import Registry, literal_values, package_of
from tamt_ray.values.table import Table
from tamt_ray.values.training import Precision

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase
    from transformers.utils.generic import ModelOutput

    from tamt_ray.data.table import Rows
    from tamt_ray.tasks.features.examples import Examples

__all__ = ["Answers", "Predictions", "Task", "TaskRole"]

TaskRole = Literal["cola", "sst2", "mnli", "mrpc", "stsb", "rte", "squad"]


class Task(Frozen, ABC):
    """An entry of `tasks` in a sweep file: its data, its head and how it is optimised.

    A subclass has a field `kind: Literal["name"]`, and may give fields here other defaults.
    """

    version: ClassVar[int] = 1
    """Raised by hand whenever the code changes a result; part of the identity where it is not 1."""
    answers: ClassVar[Answers]
    """Kind of its predictions; decides which metrics measure it."""
    words: ClassVar[str]
    """The kind in words, for tables."""
    auto_class: ClassVar[str]
    """Class of transformers that builds an architecture's own head for it, such as
    `AutoModelForSequenceClassification`."""
    examples_class: ClassVar[str] = ""
    """Class of its features, as `module:Class`: named, since its module may import Torch and the
    kind itself. Its class methods are `check(task, rows)`,
    `read(task, rows, tokenizer, limit, seed)` and `unpack(tensors, task, fingerprint)`. Empty where
    a kind has `check`, `examples` and `unpacked` itself."""
    check_with: ClassVar[str] = ""
    """Function `(task, rows)` in place of `check` of that class, as `module:function`; its module
    imports no Torch, so that a plan can look through rows quickly."""
    pooled: ClassVar[bool] = True
    """True for a head that reads one vector per sequence, so that `pooling: mean` applies."""
    features: ClassVar[frozenset[str]] = frozenset()
    """Fields that its features depend on, beside data and tokenizer."""

    train: Table
    """Rows to fine-tune on."""
    validation: Annotated[tuple[Table, ...], Field(min_length=1)]
    """The first one yields the reported score; others (MNLI mismatched) are recorded beside it."""
    metric: Annotated[str, INCIDENTAL]
    """The reported score; the others stand beside it."""
    role: Annotated[TaskRole | None, INCIDENTAL] = None
    """Task of the paper that it stands for, in claims about single tasks and in the average over
    five (Fig. 5)."""
    max_train: int | None = Field(default=None, ge=1)
    """Training examples, a random subset that depends on the fine-tuning seed only."""
    max_validation: int | None = Field(default=None, ge=1)
    """Examples of each validation table, a random subset, the same for every seed."""
    reduced: dict[Count, Count] = {}
    """Smaller training sets to fine-tune on too: examples, and the epochs each gets (Fig. 9)."""
    lr: Positive = 2e-5
    """AdamW's learning rate at the first step; it falls linearly to zero over all epochs, without
    warm-up."""
    batch_size: Count = 32
    """Sequences per step."""
    epochs: Count = 3
    """Passes over the training sequences."""
    max_length: int = Field(default=128, ge=8)
    """Tokens of a sequence, special ones included."""
    eval_every: Count = 50
    """Steps between two evaluations; the last step is always evaluated."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay, on matrices only, not on biases and LayerNorm."""
    eps: Positive = 1e-8
    """AdamW's ε."""
    clip: Positive = 1.0
    """Largest norm of all gradients together."""
    precision: Precision = "float32"
    """Number format of forward and backward passes, as in `search`. Weights, losses, gradients of
    weights and the optimiser stay in float32."""

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        known = metrics_of(cls.answers)
        if refused := METRICS.refused.get(name):
            raise fault(str(refused))
        others = [kind.answers for kind in METRICS.distinct if kind.name == name]
        if name not in known and others:
            raise fault(
                f"{name!r} measures {others[0]}, and this kind of task answers with {cls.answers}; "
                f"valid are: {', '.join(known)}"
            )
        if name not in known:
            raise PydanticKnownError(
                "literal_error", {"expected": " or ".join(f"'{each}'" for each in known)}
            )
        return name

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = handler.resolve_ref_schema(handler(schema))
        found["properties"]["metric"]["enum"] = list(metrics_of(cls.answers))
        return found

    def identity_extras(self) -> Mapping[str, object]:
        """Return the metrics that not every such fine-tune records, or whose code has changed."""
        found = [
            [package_of(kind), kind.name, kind.version]
            for kind in self.measured.values()
            if package_of(kind) or kind.version != 1
        ]
        return {"measured": found} if found else {}

    @property
    def measured(self) -> Mapping[str, type[Metric]]:
        """The metrics that are recorded, by name: those of every such task, and the headline."""
        return {
            name: kind
            for name, kind in metrics_of(self.answers).items()
            if not package_of(kind) or name == self.metric
        }

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers that the head gives per sequence, or per token where it is not `pooled`."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns that every table must have."""

    @property
    @abstractmethod
    def tokens(self) -> float:
        """Tokens of a usual sequence, for the price."""

    def check(self, rows: Rows) -> None:
        """Raise ValueError or SourceError, naming row and column, for rows that do not fit."""
        check: Any = resolve_name(self.check_with or f"{self.examples_class}.check")
        check(self, rows)

    def examples(
        self, rows: Rows, tokenizer: PreTrainedTokenizerBase, limit: int | None, seed: int | str
    ) -> Examples:
        """Return the features of at most `limit` rows, a subset drawn by `seed`."""
        kind: Any = resolve_name(self.examples_class)
        return kind.read(self, rows, tokenizer, limit, seed)

    def unpacked(self, tensors: Mapping[str, Tensor], fingerprint: str) -> Examples:
        """Return the features that `Examples.pack` gave as tensors."""
        kind: Any = resolve_name(self.examples_class)
        return kind.unpack(tensors, self, fingerprint)

    @staticmethod
    def head_outputs(output: ModelOutput) -> Tensor:
        """Return what the loss reads, [batch, outputs] or [batch, tokens, outputs], from the output
        of the architecture's own head."""
        return output["logits"]

    @property
    def left_open(self) -> str:
        """The setting that the training rows decide because it is not given; else empty."""
        return ""

    def found_in(self, rows: Rows) -> Any:  # noqa: ANN401
        """Return the setting that is left open as plain data; None where the rows leave it open."""
        return None

    def settled(self, value: object) -> Self:
        """Return the task with that setting, which still counts as not given."""
        value = tuple(cast("list[object]", value)) if isinstance(value, list) else value
        found = self.model_copy(update={self.left_open: value})
        found.model_fields_set.discard(self.left_open)
        return found

    def whole(self) -> Self:
        """Return the task on all its training data."""
        return self.model_copy(update={"reduced": {}})

    def joined(self, other: Task) -> Self | None:
        """Return what two parts of a union together ask for: they may differ in sizes alone."""
        both = {"reduced": {**other.reduced, **self.reduced}}
        found = self.model_copy(update=both)
        return found if found == other.model_copy(update=both) else None


def _names(kind: type[Task]) -> tuple[str, ...]:
    """Return the name of a kind. Raises ValueError where its contract is not kept."""
    for needed in ("answers", "words", "auto_class"):
        if not hasattr(kind, needed):
            raise ValueError(f"{kind.__name__} needs `{needed}: ClassVar`")
    for needed in ("check", "examples", "unpacked"):
        if not kind.examples_class and getattr(kind, needed) is getattr(Task, needed):
            raise ValueError(f"{kind.__name__} needs `{needed}`, or `examples_class: ClassVar`")
    return literal_values(kind, "kind")


TASKS: Registry[Task] = Registry("tamt_ray.tasks", "tamt_ray.tasks", Task, _names)
