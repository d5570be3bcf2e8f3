"""Extracted answers: the best span of a question, and how SQuAD v1.1 scores it."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Span:
    """A span of tokens, both ends included, with the sum of its start and end outputs."""

    score: float
    start: int
    end: int


def best_span(outputs: NDArray[np.float32], n_best: int, max_answer: int) -> Span | None:
    """Return the best span of at most `max_answer` tokens among the `n_best` starts and ends.

    Outputs are [tokens, 2] of the passage's tokens only. None where no start lies before an end.
    """
    starts = _largest(outputs[:, 0], n_best)
    ends = _largest(outputs[:, 1], n_best)
    length = ends[None, :] - starts[:, None] + 1
    scores = outputs[starts, 0][:, None] + outputs[ends, 1][None, :]
    scores = np.where((length >= 1) & (length <= max_answer), scores, -np.inf)
    start, end = np.unravel_index(scores.argmax(), scores.shape)
    if scores[start, end] == -np.inf:
        return None
    return Span(float(scores[start, end]), int(starts[start]), int(ends[end]))


def normalise(text: str) -> str:
    """Lower case without punctuation, English articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """1 where the prediction equals one of the gold answers, both normalised; else 0."""
    return float(normalise(prediction) in {normalise(gold) for gold in golds})


def f1(prediction: str, golds: Sequence[str]) -> float:
    """Return the largest word overlap (F1 of bags of normalised words) with one of the gold
    answers."""
    return max(_overlap(normalise(prediction).split(), normalise(gold).split()) for gold in golds)


def _overlap(predicted: list[str], gold: list[str]) -> float:
    # The official script scores two empty bags 0, too.
    same = (Counter(predicted) & Counter(gold)).total()
    return 2 * same / (len(predicted) + len(gold)) if same else 0.0


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of the largest values; the earlier of two equal ones comes first."""
    return np.argsort(-values, kind="stable")[:count]
