"""Percentile bootstrap intervals: pure functions of arrays and a Generator."""

from collections.abc import Sequence

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


def mean_interval(
    groups: Sequence[Array], rng: np.random.Generator, draws: int = DRAWS
) -> tuple[float, float] | None:
    """Interval of the mean over runs; None with fewer than two runs.

    `groups` holds one array of runs for each mask. The resampling is hierarchical: masks with
    replacement, then as many runs within each drawn mask as it has, since runs of one mask are
    more alike than runs of two. With a single mask it is the plain bootstrap over its runs.
    """
    sizes = np.array([len(group) for group in groups if len(group)])
    if sizes.sum() < 2:
        return None
    padded = np.zeros((len(sizes), sizes.max()))
    for row, group in zip(padded, (group for group in groups if len(group)), strict=True):
        row[: len(group)] = group
    masks = rng.integers(len(sizes), size=(draws, len(sizes)))
    places = rng.random((draws, len(sizes), int(sizes.max())))
    drawn = padded[masks[..., None], (places * sizes[masks][..., None]).astype(np.int64)]
    used = np.arange(sizes.max()) < sizes[masks][..., None]
    return percentile_interval((drawn * used).sum(axis=(1, 2)) / sizes[masks].sum(axis=1))
