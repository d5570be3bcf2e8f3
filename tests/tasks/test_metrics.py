"""Metrics against scikit-learn, scipy and hand calculation."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tamt_ray.tasks.metrics.base import Answers, Predictions, metrics_of


def measured(answers: Answers, predictions: Predictions) -> dict[str, float]:
    """Return every metric of such answers by name."""
    return {name: kind.compute(predictions) for name, kind in metrics_of(answers).items()}


def class_metrics(gold: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, float]:
    return measured("classes", Predictions(gold, predicted, classes=classes))


def number_metrics(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return measured("numbers", Predictions(gold, predicted))


def test_two_classes_by_hand() -> None:
    gold = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    predicted = np.array([1, 1, 0, 0, 0, 1, 0, 1])
    found = class_metrics(gold, predicted, 2)
    # 3 true and 1 false positives, 1 false and 3 true negatives.
    assert found == pytest.approx({"accuracy": 6 / 8, "f1": 3 / 4, "matthews": (9 - 1) / 16})


def test_three_classes_like_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    gold, predicted = draw.integers(0, 3, (2, 200))
    found = class_metrics(gold, predicted, 3)
    assert found["f1"] == pytest.approx(metrics.f1_score(gold, predicted, average="macro"))
    assert found["matthews"] == pytest.approx(metrics.matthews_corrcoef(gold, predicted))


def test_numbers_like_scipy() -> None:
    draw = np.random.default_rng(0)
    gold = draw.normal(size=100).astype(np.float32)
    predicted = (gold + draw.normal(size=100)).astype(np.float32)
    found = number_metrics(gold, predicted)
    assert found["pearson"] == pytest.approx(stats.linregress(gold, predicted).rvalue, abs=1e-6)
    ranks = [values.argsort().argsort() for values in (gold, predicted)]
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


@pytest.mark.parametrize("constant", [0, 1])
def test_constant_predictions_score_without_a_warning(constant: int) -> None:
    gold = np.array([0, 1, 1, 1])
    predicted = np.full(4, constant)
    found = class_metrics(gold, predicted, 2)
    assert found["matthews"] == 0.0
    assert found["f1"] == pytest.approx(constant * 6 / 7)
    assert class_metrics(predicted, predicted, 2)["accuracy"] == 1.0
    assert class_metrics(gold, predicted, 3)["accuracy"] == (0.25, 0.75)[constant]
    numbers = number_metrics(gold.astype(np.float32), predicted.astype(np.float32))
    assert numbers == {"pearson": 0.0, "spearman": 0.0}


def test_answers_are_averaged_over_the_questions() -> None:
    gold = [("Denver Broncos",), ("red",), ("car of mine", "a car")]
    found = measured("texts", Predictions(gold, ["the Denver", "blue", "car"]))
    assert found == pytest.approx({"exact_match": 1 / 3, "f1": (2 / 3 + 0 + 1) / 3})
