"""One class of several for a sentence or a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from tamt_ray.tasks.base import Answers
from tamt_ray.tasks.sentences import SentenceTask
from tamt_ray.values.base import INCIDENTAL, Frozen

if TYPE_CHECKING:
    from tamt_ray.data.table import Rows

Classes = Annotated[
    Annotated[int, Field(ge=2), Tag("number")]
    | Annotated[tuple[str, ...], Field(min_length=2), Tag("names")],
    Discriminator(lambda classes: "names" if isinstance(classes, list | tuple) else "number"),
]


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
    """Name of the kind of task."""
    classes: Classes = 2
    """Number of classes of labels 0, 1, …; or their names as the label column has them, in the
    order in which they count as classes 0, 1, …. Where it is not given, the labels of the training
    rows are counted."""
    cut: Binarization | None = None
    """Makes two classes of a numeric label."""
    metric: Annotated[str, INCIDENTAL] = "accuracy"
    """The reported score; the others stand beside it. F1 is that of class 1, macro over more than
    two classes."""

    @property
    def outputs(self) -> int:
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes; empty where labels are numbers."""
        return () if isinstance(self.classes, int) else self.classes

    @property
    def left_open(self) -> str:
        """`classes`, where nothing decides them."""
        return "" if self.cut or "classes" in self.model_fields_set else "classes"

    def found_in(self, rows: Rows) -> int | list[str] | None:
        """Return the classes of the training rows."""
        # Reads tables, which a sweep file can be checked without.
        from tamt_ray.tasks.features.classes import counted_classes

        return counted_classes(rows, self.label)

    @model_validator(mode="after")
    def _two_different_classes(self) -> Self:
        if self.names and self.cut:
            raise ValueError("`cut` makes classes of numbers; leave the names in `classes` out")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"a class is named twice in `classes`: {', '.join(self.names)}")
        return self
