"""Linear correlation of numbers."""

from typing import ClassVar

from tamt_ray.tasks.metrics.base import Answers, Metric, Predictions


class Pearson(Metric):
    """Pearson's r; 0 where either side is constant."""

    name: ClassVar[str] = "pearson"
    answers: ClassVar[Answers] = "numbers"
    always: ClassVar[bool] = True

    @staticmethod
    def compute(predictions: Predictions) -> float:
        """Correlate predicted and gold numbers."""
        import numpy as np
        from scipy import stats

        gold, predicted = np.asarray(predictions.gold), np.asarray(predictions.predicted)
        if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
            return 0.0
        # In single precision the correlation of close predictions is lost to rounding.
        found = stats.pearsonr(gold.astype(np.float64), predicted.astype(np.float64))
        return float(found.statistic)  # pyright: ignore[reportAttributeAccessIssue]
