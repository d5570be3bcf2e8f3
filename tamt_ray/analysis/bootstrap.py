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
    return mean_intervals([groups], rng, draws)[0]


def mean_intervals(
    many: Sequence[Sequence[Array]], rng: np.random.Generator, draws: int = DRAWS
) -> list[tuple[float, float] | None]:
    """`mean_interval` of each; those with as many masks and runs share the resamples."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, groups in enumerate(many):
        sizes = tuple(len(group) for group in groups if len(group))
        if sum(sizes) > 1:
            alike.setdefault(sizes, []).append(number)
    found: list[tuple[float, float] | None] = [None] * len(many)
    for sizes, numbers in alike.items():
        runs = np.stack([np.concatenate(list(many[number])) for number in numbers])
        means = _weights(sizes, rng, draws) @ runs.T
        low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        for number, *ends in zip(numbers, low, high, strict=True):
            found[number] = float(ends[0]), float(ends[1])
    return found


def _weights(sizes: Sequence[int], rng: np.random.Generator, draws: int) -> Array:
    """The share of each run in each resampled mean [draws, runs]; masks have `sizes` runs."""
    count, runs = len(sizes), sum(sizes)
    of_mask, first = np.array(sizes), np.concatenate([[0], np.cumsum(sizes)[:-1]])
    masks = rng.integers(count, size=(draws, count))
    places = rng.random((draws, count, int(of_mask.max())))
    drawn = of_mask[masks][..., None]
    run = first[masks][..., None] + (places * drawn).astype(np.int64)
    used = np.arange(of_mask.max()) < drawn
    row = np.broadcast_to(np.arange(draws)[:, None, None], run.shape)
    flat = row[used] * runs + run[used]
    times = np.bincount(flat, minlength=draws * runs).reshape(draws, runs)
    return times / times.sum(axis=1, keepdims=True)
