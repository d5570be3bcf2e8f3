"""The file of a fine-tune's answers: what it holds, and how large it may be."""

from collections.abc import Callable

import numpy as np
import pytest

from tamt_ray.tasks.metrics.base import Predictions
from tamt_ray.tasks.predictions import from_parquet, to_parquet
from tamt_ray.tasks.scores import Evaluation

RNG = np.random.default_rng(0)
OVERLAPS = np.unique([2 * s / (a + b) for a in range(1, 20) for b in range(1, 20)
                      for s in range(min(a, b) + 1)])  # fmt: skip


def test_a_row_per_example_and_evaluation() -> None:
    gold = np.array([1, 0, 1])
    run = [
        Evaluation(5, {}, Predictions(gold, np.array([1, 1, 1]), classes=2)),
        Evaluation(8, {}, Predictions(gold, np.array([0, 0, 1]), classes=2)),
    ]
    table = from_parquet(to_parquet(run))
    assert table.drop("half").rows() == [
        (0, 5, 1, 1), (0, 8, 1, 0), (1, 5, 0, 1), (1, 8, 0, 0), (2, 5, 1, 1), (2, 8, 1, 1),
    ]  # fmt: skip
    assert table.columns == ["example", "half", "step", "gold", "predicted"]
    assert sorted(table.filter(step=5)["half"]) == [1, 1, 2]


def _classes(count: int) -> Predictions:
    return Predictions(np.arange(count) % 3, RNG.integers(0, 3, count), classes=3)


def _numbers(count: int) -> Predictions:
    return Predictions(
        np.arange(count, dtype=np.float32), RNG.normal(size=count).astype(np.float32)
    )


def _texts(count: int) -> Predictions:
    f1 = RNG.choice(OVERLAPS, count)
    scored = {"exact_match": (f1 == 1).astype(np.float64), "f1": f1}
    return Predictions([("a",)] * count, ["a"] * count, scored=scored)


@pytest.mark.parametrize(
    ("answers", "examples", "evaluations", "bytes_per_answer"),
    [
        (_classes, 9_815, 74, 0.4),  # MNLI
        (_numbers, 1_500, 11, 5.0),  # STS-B
        (_texts, 10_570, 12, 2.0),  # SQuAD
    ],
)
def test_answers_that_never_repeat_stay_small(
    answers: Callable[[int], Predictions], examples: int, evaluations: int, bytes_per_answer: float
) -> None:
    """Real answers seldom change between evaluations and take less."""
    run = [Evaluation(step, {}, answers(examples)) for step in range(1, evaluations + 1)]
    assert len(to_parquet(run)) < bytes_per_answer * examples * evaluations + 4096
