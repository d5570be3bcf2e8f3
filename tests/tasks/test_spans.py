"""Extracted answers by hand, and the official SQuAD cases."""

import numpy as np
import pytest

from tamt_ray.tasks.features.spans import best_span, exact_match, f1, normalise


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
