"""The contract of a metric, and the metrics that a task may name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import ClassVar, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from tamt_ray.values.plugin import Registry

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
    scored: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False, compare=False)
    """[n] score of each example by the name of the score, as far as `each` has computed them."""

    def each(self, score: Callable[[str, Sequence[str]], float]) -> NDArray[np.float64]:
        """Return a score of (predicted answer, gold answers) per example of `texts`, computed once
        and kept with the fine-tune's predictions."""
        if score.__name__ not in self.scored:
            pairs = zip(self.predicted, self.gold, strict=True)
            found = [score(str(answer), [str(gold) for gold in golds]) for answer, golds in pairs]
            self.scored[score.__name__] = np.array(found, dtype=np.float64)
        return self.scored[score.__name__]

    def part(self, chosen: NDArray[np.bool_]) -> "Predictions":
        """Return those of some examples; `chosen` is [n]."""
        gold, predicted = (
            values[chosen] if isinstance(values, np.ndarray) else list(compress(values, chosen))
            for values in (self.gold, self.predicted)
        )
        return replace(
            self,
            gold=gold,
            predicted=predicted,
            outputs=None if self.outputs is None else self.outputs[chosen],
            scored={name: values[chosen] for name, values in self.scored.items()},
        )


class Metric(ABC):
    """One number for the predictions on a data set.

    Every fine-tune records our own metrics of its `answers`; those of plug-ins where its task names
    them.
    """

    name: ClassVar[str]
    """Name in a sweep file; unique among the metrics of its `answers`."""
    answers: ClassVar[Answers]
    """Kind of predictions that it measures."""
    higher_is_better: ClassVar[bool] = True
    version: ClassVar[int] = 1
    """Raised by hand whenever the code changes a value."""

    @classmethod
    def best(cls, among: Iterable[T], value: Callable[[T], float]) -> T:
        """Return the item with the best value, the first of equals."""
        return (max if cls.higher_is_better else min)(among, key=value)

    @staticmethod
    @abstractmethod
    def compute(predictions: Predictions) -> float:
        """Return the value, a fraction of 1 where the metric has a best value.

        It is asked for the whole validation set and for each half of it.
        """


def _names(kind: type[Metric]) -> tuple[str, ...]:
    """Return the key of a metric. Raises ValueError where its contract is not kept."""
    name, answers = getattr(kind, "name", None), getattr(kind, "answers", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f'{kind.__name__} needs `name: ClassVar[str] = "a_word"`')
    if answers not in get_args(Answers):
        raise ValueError(f"{kind.__name__} needs `answers`, one of {', '.join(get_args(Answers))}")
    return (f"{answers}/{name}",)


METRICS: Registry[Metric] = Registry("tamt_ray.tasks.metrics", "tamt_ray.metrics", Metric, _names)


def metrics_of(answers: Answers) -> Mapping[str, type[Metric]]:
    """Return the metrics that measure such answers, by name."""
    return {kind.name: kind for kind in METRICS.distinct if kind.answers == answers}
