"""A downstream task: source, columns, kind, metric."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from tamt_ray.spec.base import Count, Frozen, Positive
from tamt_ray.spec.table import Table


class Cut(Frozen):
    """Two classes from a number: 1 at or above `above`, 0 at or below `below`, else dropped."""

    above: float
    below: float


class Finetuning(Frozen):
    """The data and the optimisation common to all tasks (PAPER §4)."""

    train: Table
    validation: Annotated[tuple[Table, ...], Field(min_length=1)]
    """The first one yields the reported score; others (MNLI mismatched) are recorded beside it."""
    max_train: int | None = Field(default=None, ge=1)
    """Training examples, a random subset that depends on the fine-tuning seed only."""
    max_validation: int | None = Field(default=None, ge=1)
    reduced: dict[Count, Count] = {}
    """Smaller training sets to fine-tune on too: examples, and the epochs each gets (Fig. 9)."""
    weight_decay: float = Field(default=0.0, ge=0)
    eps: Positive = 1e-8
    clip: Positive = 1.0


class _Glue(Finetuning):
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    """Column of the sentence, or columns of the pair."""
    label: str = "label"
    lr: Positive = 2e-5
    batch_size: Count = 32
    epochs: Count = 3
    max_length: int = Field(default=128, ge=8)
    eval_every: Count = 50
    """Steps between two evaluations; the last step is always evaluated."""


class Classification(_Glue):
    """One class of several for a sentence or a pair."""

    kind: Literal["classification"]
    classes: int = Field(default=2, ge=2)
    cut: Cut | None = None
    metric: Literal["accuracy", "matthews", "f1"] = "accuracy"


class Regression(_Glue):
    """A number for a sentence or a pair."""

    kind: Literal["regression"]
    metric: Literal["pearson", "spearman"] = "pearson"


class Spans(Finetuning):
    """An answer span in a passage, as in SQuAD v1.1; columns as on the hub."""

    kind: Literal["spans"]
    metric: Literal["f1", "exact_match"] = "f1"
    lr: Positive = 3e-5
    batch_size: Count = 16
    epochs: Count = 2
    max_length: int = Field(default=384, ge=16)
    doc_stride: Count = 128
    max_query: Count = 64
    n_best: Count = 20
    max_answer: Count = 30
    eval_every: Count = 1000


Task = Annotated[Classification | Regression | Spans, Discriminator("kind")]
