"""Correlations of predicted and gold numbers."""

from collections.abc import Callable
from typing import Any

from tamt_ray.tasks.metrics.base import Predictions


def correlation(coefficient: Callable[..., Any], predictions: Predictions) -> float:
    """Return a coefficient of scipy, in [-1, 1]; 0 where either side is constant."""
    import numpy as np

    gold, predicted = np.asarray(predictions.gold), np.asarray(predictions.predicted)
    if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return 0.0
    # In single precision the correlation of close predictions is lost to rounding.
    return float(coefficient(gold.astype(np.float64), predicted.astype(np.float64)).statistic)
