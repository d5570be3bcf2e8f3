"""A downstream task: source, columns, kind, metric."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from tamt_ray.values.base import Count, Frozen, Positive
from tamt_ray.values.table import Table


class Binarization(Frozen):
    """Two classes from a number: 1 at or above `above`, 0 at or below `below`, else dropped."""

    above: float
    """Labels of at least this are class 1."""
    below: float
    """Labels of at most this are class 0."""


class Finetuning(Frozen):
    """The data and the optimisation common to all tasks."""

    train: Table
    """Rows to fine-tune on."""
    validation: Annotated[tuple[Table, ...], Field(min_length=1)]
    """The first one yields the reported score; others (MNLI mismatched) are recorded beside it."""
    max_train: int | None = Field(default=None, ge=1)
    """Training examples, a random subset that depends on the fine-tuning seed only."""
    max_validation: int | None = Field(default=None, ge=1)
    """Examples of each validation table, a random subset, the same for every seed."""
    reduced: dict[Count, Count] = {}
    """Smaller training sets to fine-tune on too: examples, and the epochs each gets (Fig. 9)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay, on matrices only, not on biases and LayerNorm."""
    eps: Positive = 1e-8
    """AdamW's ε."""
    clip: Positive = 1.0
    """Largest norm of all gradients together."""


class _Glue(Finetuning):
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    """Column of the sentence, or columns of the pair."""
    label: str = "label"
    """Column of the label: a class 0 … `classes` − 1, or a number."""
    lr: Positive = 2e-5
    """AdamW's learning rate at the first step; it falls linearly to zero over all epochs, without
    warm-up."""
    batch_size: Count = 32
    """Examples a step."""
    epochs: Count = 3
    """Passes over the training examples."""
    max_length: int = Field(default=128, ge=8)
    """Tokens of an example, special ones included; the longer part of a pair is cut first."""
    eval_every: Count = 50
    """Steps between two evaluations; the last step is always evaluated."""


class Classification(_Glue):
    """One class of several for a sentence or a pair."""

    kind: Literal["classification"]
    """Which kind of task this is."""
    classes: int = Field(default=2, ge=2)
    """Number of classes."""
    cut: Binarization | None = None
    """Makes two classes of a numeric label."""
    metric: Literal["accuracy", "matthews", "f1"] = "accuracy"
    """The reported score; the others stand beside it. F1 is that of class 1, macro over more than
    two classes."""


class Regression(_Glue):
    """A number for a sentence or a pair."""

    kind: Literal["regression"]
    """Which kind of task this is."""
    metric: Literal["pearson", "spearman"] = "pearson"
    """The reported score, Pearson's r or Spearman's ρ; both are recorded."""


class Spans(Finetuning):
    """An answer span in a passage, as in SQuAD v1.1; columns as on the hub."""

    kind: Literal["spans"]
    """Which kind of task this is."""
    metric: Literal["f1", "exact_match"] = "f1"
    """The reported score, mean over questions; both are recorded."""
    lr: Positive = 3e-5
    """AdamW's learning rate at the first step; it falls linearly to zero over all epochs, without
    warm-up."""
    batch_size: Count = 16
    """Windows a step."""
    epochs: Count = 2
    """Passes over all windows."""
    max_length: int = Field(default=384, ge=16)
    """Tokens of a window: question, passage and special tokens."""
    doc_stride: Count = 128
    """Passage tokens between the beginnings of two windows (BERT's meaning, not the overlap)."""
    max_query: Count = 64
    """Tokens of a question that are kept (max_query_length)."""
    n_best: Count = 20
    """Best starts and best ends among which the answer is looked for (n_best_size)."""
    max_answer: Count = 30
    """Longest answer in tokens (max_answer_length)."""
    eval_every: Count = 1000
    """Steps between two evaluations; the last step is always evaluated."""


Task = Annotated[Classification | Regression | Spans, Discriminator("kind")]
