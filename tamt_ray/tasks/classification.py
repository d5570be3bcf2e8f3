"""One class of several for a sentence or a pair."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tamt_ray.tasks.base import Answers
from tamt_ray.tasks.sentences import SentenceTask
from tamt_ray.values.base import INCIDENTAL, Frozen


class Binarization(Frozen):
    """Two classes from a number: 1 at or above `above`, 0 at or below `below`, else dropped."""

    above: float
    """Labels of at least this are class 1."""
    below: float
    """Labels of at most this are class 0."""


class Classification(SentenceTask):
    """One class of several for a sentence or a pair."""

    answers: ClassVar[Answers] = "classes"
    words: ClassVar[str] = "classification"
    kind: Literal["classification"]
    """Which kind of task this is."""
    classes: int = Field(default=2, ge=2)
    """Number of classes."""
    cut: Binarization | None = None
    """Makes two classes of a numeric label."""
    metric: Annotated[str, INCIDENTAL] = "accuracy"
    """The reported score; the others stand beside it. F1 is that of class 1, macro over more than
    two classes."""

    @property
    def outputs(self) -> int:
        return self.classes
