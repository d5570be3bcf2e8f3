"""Rank correlation of numbers."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions
from tamt_ray.tasks.metrics.correlation import correlation


class Spearman(Metric):
    """Spearman's ρ; 0 where either side is constant."""

    name: ClassVar[str] = "spearman"
    answers: ClassVar[Answers] = "numbers"
    always: ClassVar[bool] = True

    @staticmethod
    def compute(predictions: Predictions) -> float:
        """Correlate predicted and gold numbers."""
        from scipy.stats import spearmanr

        return correlation(spearmanr, predictions)
