"""Metrics against scikit-learn, scipy, hand calculation and the official SQuAD cases."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tamt_ray.finetune.answers import best_span, exact_match, f1, normalise
from tamt_ray.finetune.labels import labels
from tamt_ray.finetune.metrics import class_metrics, number_metrics
from tamt_ray.spec.task import Classification, Regression

TABLE = {"source": "dir:unused.csv"}


def classification(**settings: object) -> Classification:
    given = {"train": TABLE, "validation": [TABLE], "text": ["text"], "kind": "classification"}
    return Classification.model_validate({**given, **settings})


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


def test_a_cut_makes_two_classes_and_drops_the_middle() -> None:
    task = classification(cut={"above": 0.5, "below": -0.5})
    rows, found = labels([-4.0, "-0.5", 0.0, 0.49, "0.5", 3, -1], task)
    assert rows.tolist() == [0, 1, 4, 5, 6]
    assert found.tolist() == [0, 0, 1, 1, 0]


def test_labels_are_read_from_numbers_and_their_text() -> None:
    rows, found = labels(["1", 0, 2.0, "2.0"], classification(classes=3))
    assert rows.tolist() == [0, 1, 2, 3]
    assert found.tolist() == [1, 0, 2, 2]
    task = Regression.model_validate(
        {"train": TABLE, "validation": [TABLE], "text": ["text"], "kind": "regression"}
    )
    assert labels([" 3.80 ", -1, 5], task)[1].tolist() == [3.8, -1, 5]
    for bad in (float("nan"), "inf", "", None, [1]):
        with pytest.raises(ValueError, match=r"row 1: .* is not a number"):
            labels([1, bad], task)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("  a\tcat,  an  apple ", "cat apple"),
        # Articles are whole words; punctuation goes first and may join words, or make an article.
        ("Theatre and banana", "theatre and banana"),
        ("a-b", "ab"),
        ("The.", ""),
        ("t.h.e. end", "end"),
        # Only ASCII punctuation goes.
        ("24–10", "24–10"),
        ("$1,000.50", "100050"),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "overlap"),
    [
        ("the Denver Broncos.", ["Denver Broncos"], 1.0, 1.0),
        ("Denver", ["Denver Broncos", "Broncos of Denver"], 0.0, 2 / 3),
        ("Denver", ["Broncos", "DENVER"], 1.0, 1.0),
        # One of 2 predicted and one of 3 gold words: precision 1/2, recall 1/3.
        ("red car", ["car of mine"], 0.0, 0.4),
        # A repeated word counts as often as it is in both.
        ("no no no", ["no no"], 0.0, 0.8),
        ("Broncos Denver", ["Denver Broncos"], 0.0, 1.0),
        ("", ["Denver"], 0.0, 0.0),
        # Nothing is left of either: equal, but without a common word.
        ("the", ["a"], 1.0, 0.0),
        ("blue", ["red"], 0.0, 0.0),
    ],
)
def test_squad_scores(prediction: str, golds: list[str], exact: float, overlap: float) -> None:
    assert exact_match(prediction, golds) == exact
    assert f1(prediction, golds) == pytest.approx(overlap)


def test_the_best_span_is_legal() -> None:
    outputs = np.zeros((6, 2), np.float32)
    outputs[4, 0], outputs[1, 1] = 9.0, 9.0  # the best start lies behind the best end
    outputs[1, 0], outputs[5, 1] = 3.0, 2.0
    span = best_span(outputs, n_best=6, max_answer=30)
    assert span is not None
    assert (span.start, span.end, span.score) == (1, 1, 12.0)
    outputs[1, 1] = 0
    span = best_span(outputs, n_best=6, max_answer=30)
    assert span is not None
    assert (span.start, span.end, span.score) == (4, 5, 11.0)


def test_a_span_is_no_longer_than_allowed() -> None:
    outputs = np.zeros((8, 2), np.float32)
    outputs[0, 0], outputs[7, 1], outputs[3, 1] = 5.0, 5.0, 1.0
    long, short = best_span(outputs, 8, 8), best_span(outputs, 8, 7)
    assert long is not None
    assert short is not None
    assert (long.start, long.end) == (0, 7)
    assert (short.start, short.end) == (0, 3)


def test_no_span_where_none_is_legal_among_the_best() -> None:
    outputs = np.zeros((6, 2), np.float32)
    outputs[5, 0], outputs[0, 1] = 1.0, 1.0
    assert best_span(outputs, n_best=1, max_answer=30) is None
