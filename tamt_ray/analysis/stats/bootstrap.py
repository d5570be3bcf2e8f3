"""Percentile bootstrap intervals: pure functions of arrays."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEED = 20220421
"""Of every interval in a report, so that the same records give the same bytes."""
DRAWS = 2000
LEVEL = 0.95


def percentile_interval(statistics: Array, level: float = LEVEL) -> tuple[float, float]:
    """The central `level` of resampled statistics [draws]."""
    low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
