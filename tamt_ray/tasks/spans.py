"""An answer span in a passage, as in SQuAD v1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tamt_ray.tasks.base import Answers, Task
from tamt_ray.values.base import INCIDENTAL, Count, Positive

if TYPE_CHECKING:
    from torch import Tensor
    from transformers.utils.generic import ModelOutput

_FILLED = 0.5
"""Share of `max_length` that a usual window fills."""


class Spans(Task):
    """An answer span in a passage, as in SQuAD v1.1; columns as on the hub."""

    answers: ClassVar[Answers] = "texts"
    words: ClassVar[str] = "span extraction"
    auto_class: ClassVar[str] = "AutoModelForQuestionAnswering"
    examples_class: ClassVar[str] = "tamt_ray.tasks.features.passages:Passages"
    check_with: ClassVar[str] = "tamt_ray.tasks.features.questions:check_questions"
    pooled: ClassVar[bool] = False
    features: ClassVar[frozenset[str]] = frozenset(
        {"kind", "max_length", "doc_stride", "max_query", "n_best", "max_answer"}
    )
    kind: Literal["spans"]
    """Name of the kind of task."""
    metric: Annotated[str, INCIDENTAL] = "f1"
    """The reported score, mean over questions; both are recorded."""
    lr: Positive = 3e-5
    """AdamW's learning rate at the first step; it falls linearly to zero over all epochs, without
    warm-up."""
    batch_size: Count = 16
    """Windows per step."""
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

    @property
    def outputs(self) -> int:
        return 2

    @property
    def columns(self) -> tuple[str, ...]:
        return ("id", "context", "question", "answers")

    @property
    def tokens(self) -> float:
        return self.max_length * _FILLED

    @staticmethod
    def head_outputs(output: ModelOutput) -> Tensor:
        import torch

        return torch.stack((output["start_logits"], output["end_logits"]), dim=-1)
