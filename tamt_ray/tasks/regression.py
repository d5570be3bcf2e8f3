"""A number for a sentence or a pair."""

from typing import Annotated, ClassVar, Literal

from tamt_ray.tasks.base import Answers
from tamt_ray.tasks.sentences import SentenceTask
from tamt_ray.values.base import INCIDENTAL


class Regression(SentenceTask):
    """A number for a sentence or a pair."""

    answers: ClassVar[Answers] = "numbers"
    words: ClassVar[str] = "regression"
    kind: Literal["regression"]
    """Name of the kind of task."""
    metric: Annotated[str, INCIDENTAL] = "pearson"
    """The reported score, Pearson's r or Spearman's ρ; both are recorded."""

    @property
    def outputs(self) -> int:
        return 1
