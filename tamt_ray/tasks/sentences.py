"""Settings that classification and regression of sentences share."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from tamt_ray.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from tamt_ray.data.table import Rows
    from tamt_ray.tasks.features.examples import Examples

_TOKENS = 20
"""Tokens of a usual sentence."""


class SentenceTask(Task, ABC):
    """One answer for a sentence or a pair of sentences."""

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    features: ClassVar[frozenset[str]] = frozenset(
        {"kind", "text", "label", "classes", "cut", "max_length"}
    )
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    """Column of the sentence, or columns of the pair."""
    label: str = "label"
    """Column of the label: a class 0 … `classes` − 1, its name, or a number."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.text, self.label)

    @property
    def tokens(self) -> float:
        return float(min(self.max_length, _TOKENS * len(self.text)))

    def check(self, rows: Rows) -> None:
        """Refuse rows without text or without a label of the task."""
        from tamt_ray.tasks.features.labels import check_rows

        check_rows(self, rows)

    def examples(
        self, rows: Rows, tokenizer: PreTrainedTokenizerBase, limit: int | None, seed: int | str
    ) -> Examples:
        """Return the tokenised sentences with their labels."""
        from tamt_ray.tasks.features.sentences import sentences

        return sentences(self, rows, tokenizer, limit, seed)

    def unpacked(self, tensors: Mapping[str, Tensor], fingerprint: str) -> Examples:
        """Return the sentences that `pack` gave."""
        from tamt_ray.tasks.features.sentences import Sentences

        return Sentences.unpack(tensors, self, fingerprint)
