"""The contract of a metric."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Answers = Literal["classes", "numbers", "texts"]
"""Kinds of predictions."""


@dataclass(frozen=True)
class Predictions:
    """The answers to all examples of one evaluation, in the order of the data.

    `classes`: int64 [n]; `numbers`: float32 [n]; `texts`: n strings, and of the gold ones n tuples
    of answers that are all right.
    """

    gold: NDArray[np.int64] | NDArray[np.float32] | Sequence[tuple[str, ...]]
    predicted: NDArray[np.int64] | NDArray[np.float32] | Sequence[str]
    outputs: NDArray[np.float32] | None = None
    """[n, classes] of a classification, before softmax."""
    classes: int = 0
    """Number of classes of a classification."""


class Metric(ABC):
    """One number for the predictions on a data set."""

    name: ClassVar[str]
    """As in a sweep file; unique among the metrics of its `answers`."""
    answers: ClassVar[Answers]
    """Which predictions it measures."""
    higher_is_better: ClassVar[bool] = True
    version: ClassVar[int] = 1
    """Raised by hand whenever the code changes a value."""
    always: ClassVar[bool] = False
    """Whether every fine-tune records it, for ours alone; others where a task names them."""

    @classmethod
    def best(cls, among: Iterable[T], value: Callable[[T], float]) -> T:
        """Return the item with the best value, the first of equals."""
        return (max if cls.higher_is_better else min)(among, key=value)

    @staticmethod
    @abstractmethod
    def compute(predictions: Predictions) -> float:
        """Return the value, a fraction of 1 where the metric has a best value."""
