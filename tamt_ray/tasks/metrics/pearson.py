"""Linear correlation of numbers."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions
from tamt_ray.tasks.metrics.correlation import correlation


class Pearson(Metric):
    """Pearson's r; 0 where either side is constant."""

    name: ClassVar[str] = "pearson"
    answers: ClassVar[Answers] = "numbers"
    always: ClassVar[bool] = True

    @staticmethod
    def compute(predictions: Predictions) -> float:
        """Correlate predicted and gold numbers."""
        from scipy.stats import pearsonr

        return correlation(pearsonr, predictions)
