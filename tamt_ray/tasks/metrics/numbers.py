"""Correlations of numbers."""

from collections.abc import Callable
from typing import Any, ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


def correlation(coefficient: Callable[..., Any], predictions: Predictions) -> float:
    """Return a coefficient of scipy, in [-1, 1]; 0 where either side is constant."""
    import numpy as np

    gold, predicted = np.asarray(predictions.gold), np.asarray(predictions.predicted)
    if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return 0.0
    # In single precision the correlation of close predictions is lost to rounding.
    return float(coefficient(gold.astype(np.float64), predicted.astype(np.float64)).statistic)


class Pearson(Metric):
    """Pearson's r; 0 where either side is constant."""

    name: ClassVar[str] = "pearson"
    answers: ClassVar[Answers] = "numbers"

    @staticmethod
    def compute(predictions: Predictions) -> float:
        from scipy.stats import pearsonr

        return correlation(pearsonr, predictions)


class Spearman(Metric):
    """Spearman's ρ; 0 where either side is constant."""

    name: ClassVar[str] = "spearman"
    answers: ClassVar[Answers] = "numbers"

    @staticmethod
    def compute(predictions: Predictions) -> float:
        from scipy.stats import spearmanr

        return correlation(spearmanr, predictions)
