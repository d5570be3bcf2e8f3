"""The scores of a fine-tune by hand."""

from typing import ClassVar

import numpy as np
import pytest

from tamt_ray.tasks.metrics.accuracy import Accuracy
from tamt_ray.tasks.metrics.base import Metric, Predictions
from tamt_ray.tasks.metrics.f1 import F1
from tamt_ray.tasks.scores import Evaluation, baselines, led_by, summary


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
    record = {**summary(RUN, MEASURED), "examples": 9.0, "baseline/f1": 0.1}
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
    record = summary(RUN, {"f1": F1})
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
