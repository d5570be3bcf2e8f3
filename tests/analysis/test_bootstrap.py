"""Intervals of the mean against a plain loop over masks and runs."""

import numpy as np
import pytest

from tamt_ray.analysis.bootstrap import mean_interval, mean_intervals


def looped(groups: list[np.ndarray], draws: int) -> tuple[float, float]:
    rng = np.random.default_rng(11)
    means = []
    for _ in range(draws):
        chosen = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        drawn = [rng.choice(group, size=len(group)) for group in chosen]
        means.append(np.concatenate(drawn).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return low, high


@pytest.mark.parametrize("sizes", [(3, 3, 3), (5,), (1, 1, 1, 1), (1, 4, 2)])
def test_masks_are_drawn_first_and_runs_within_them(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    groups = [10 * rng.normal() + rng.normal(size=size) for size in sizes]
    spread = np.ptp(np.concatenate(groups))
    found = mean_interval(groups, np.random.default_rng(0), draws=4000)
    assert found == pytest.approx(looped(groups, 4000), abs=0.05 * spread)


def test_many_at_once_keep_their_places() -> None:
    rng = np.random.default_rng(4)
    three = [np.array([k, k + 1.0, k + 2.0]) for k in (0.0, 10.0)]
    many = [[three[0]], [], [np.array([7.0])], [three[1]], [three[0], three[1]]]
    found = mean_intervals(many, rng, draws=500)
    assert found[1] is None
    assert found[2] is None
    # Resamples are shared by what has as many masks and runs.
    assert np.subtract(found[3], found[0]) == pytest.approx([10.0, 10.0])
    assert found[4][0] >= 0.0
    assert found[4][1] > found[0][1]


def test_masks_without_runs_do_not_count() -> None:
    runs = np.array([1.0, 2.0, 4.0])
    alone = mean_interval([runs], np.random.default_rng(0), draws=200)
    assert mean_interval([np.array([]), runs], np.random.default_rng(0), draws=200) == alone
