"""Settings that classification and regression of sentences share."""

from abc import ABC
from typing import Annotated, ClassVar

from pydantic import Field

from tamt_ray.tasks.base import Task

_TOKENS = 20
"""Tokens of a usual sentence."""


class SentenceTask(Task, ABC):
    """One answer for a sentence or a pair of sentences."""

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    examples_class: ClassVar[str] = "tamt_ray.tasks.features.sentences:Sentences"
    check_with: ClassVar[str] = "tamt_ray.tasks.features.labels:check_sentences"
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
