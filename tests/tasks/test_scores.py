"""The scores of a fine-tune by hand."""

from hashlib import sha256
from typing import ClassVar

import numpy as np
import pytest

from tamt_ray.tasks.metrics.base import Metric, Predictions
from tamt_ray.tasks.metrics.classes import F1, Accuracy
from tamt_ray.tasks.scores import (
    Evaluation,
    baselines,
    counted_steps,
    first_half,
    led_by,
    scores_of,
)


class Loss(Accuracy):
    """The less, the better."""

    name: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False


MEASURED: dict[str, type[Metric]] = {"accuracy": Accuracy, "f1": F1, "loss": Loss}
RUN = [
    Evaluation(5, {"accuracy": 0.7, "f1": 0.2, "loss": 0.9, "accuracy_2": 0.1}),
    Evaluation(10, {"accuracy": 0.8, "f1": 0.6, "loss": 0.4, "accuracy_2": 0.2}),
    Evaluation(15, {"accuracy": 0.8, "f1": 0.5, "loss": 0.3, "accuracy_2": 0.3}),
    Evaluation(17, {"accuracy": 0.6, "f1": 0.4, "loss": 0.5, "accuracy_2": 0.4}),
]


@pytest.mark.parametrize(
    ("leader", "step", "best", "last", "second"),
    [
        ("accuracy", 10, 0.8, 0.6, 0.2),  # the earlier of two that are equal
        ("f1", 10, 0.6, 0.4, 0.2),
        ("loss", 15, 0.3, 0.5, 0.3),
    ],
)
def test_every_metric_may_lead(
    leader: str, step: int, best: float, last: float, second: float
) -> None:
    record = {**scores_of(RUN, MEASURED), "examples": 9.0, "baseline/f1": 0.1}
    found = led_by(leader, record)
    assert (found["best_step"], found["best"], found["last"]) == (step, best, last)
    (evaluation,) = (each for each in RUN if each.step == step)
    assert {name: found[name] for name in evaluation.metrics} == evaluation.metrics
    assert found["accuracy_2"] == second
    assert (found["steps"], found["examples"], found["baseline/f1"]) == (17, 9, 0.1)
    assert set(found) == {
        "accuracy", "f1", "loss", "accuracy_2", "best", "last", "best_step", "steps", "examples",
        "baseline/f1",
    }  # fmt: skip


def test_a_metric_that_was_not_recorded_leads_nothing() -> None:
    record = scores_of(RUN, {"f1": F1})
    assert led_by("accuracy", record) == {"steps": 17}
    assert led_by("f1", record)["accuracy"] == 0.8


def test_a_baseline_is_the_best_constant_answer_by_its_own_metric() -> None:
    gold = np.array([0, 0, 0, 1])
    constants = [Predictions(gold, np.full(4, answer), classes=2) for answer in (0, 1)]
    found = baselines(iter(constants), MEASURED)
    # All 0 is right three times of four; all 1 has precision 1/4 and recall 1.
    assert found == pytest.approx(
        {"baseline/accuracy": 0.75, "baseline/f1": 0.4, "baseline/loss": 0.25}
    )


def _answered(step: int, gold: list[int], predicted: list[int]) -> Evaluation:
    answers = Predictions(np.array(gold), np.array(predicted), classes=2)
    measured = {name: kind.compute(answers) for name, kind in MEASURED.items()}
    return Evaluation(step, {**measured, "accuracy_2": step / 100}, answers)


def test_a_score_is_chosen_on_one_half_and_measured_on_the_other() -> None:
    gold = [0, 1] * 4
    first = first_half(Predictions(np.array(gold), np.array(gold)))
    assert first.sum() == 4
    # Step 10 is all right on the first half and half right on the second, step 20 the reverse.
    answers = []
    for whole in (first, ~first):
        flips = iter([0, 1, 1, 0])
        answers.append(
            [g if right else g ^ next(flips) for g, right in zip(gold, whole, strict=True)]
        )
    run = [_answered(10 * (n + 1), gold, given) for n, given in enumerate(answers)]
    record = scores_of(run, MEASURED)
    assert record["best/accuracy/accuracy"] == 0.75
    assert (record["half/accuracy/step_1"], record["half/accuracy/step_2"]) == (20, 10)
    assert record["half/accuracy/accuracy"] == 0.5
    assert record["half/accuracy/accuracy_2"] == pytest.approx(0.15)
    found = led_by("accuracy", record, "half")
    assert (found["best"], found["optimism"], found["last"]) == (0.5, 0.25, 0.75)
    assert "best_step" not in found
    assert led_by("accuracy", record)["optimism"] == 0.25
    assert counted_steps("accuracy", record, "half") == (20, 10)
    assert counted_steps("accuracy", record, "all") == (10, 10)


def test_without_answers_no_half_is_known() -> None:
    record = scores_of(RUN, MEASURED)
    found = led_by("accuracy", record, "half")
    assert not {"best", "last", "accuracy", "optimism"} & set(found)
    assert counted_steps("accuracy", record, "half") is None
    assert not any(
        name.startswith("half") for name in scores_of([_answered(5, [1], [1])], MEASURED)
    )


def test_halves_are_alike_and_never_change() -> None:
    gold = np.array([0] * 70 + [1] * 31)
    first = first_half(Predictions(gold, gold))
    assert first.sum() == 51
    assert gold[first].sum() in {15, 16}
    texts = Predictions([("a",)] * 6, ["a"] * 6)
    order = sorted(range(6), key=lambda i: sha256(f"str:half\x1fint:{i}".encode()).digest())
    assert set(np.flatnonzero(first_half(texts))) == set(order[::2])
