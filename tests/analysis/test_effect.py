"""Paired differences: by hand, against scipy, and honest where nothing is there."""

import numpy as np
import pytest
from scipy import stats

from tamt_ray.analysis.effect import effect, holm, paired


def test_pairs_by_seed_and_broadcasts_the_single_mask() -> None:
    tamt = {(1, 1): 5.0, (1, 2): 6.0, (2, 1): 7.0, (2, 2): 9.0}
    omp = {(None, 1): 1.0, (None, 2): 2.0}
    assert paired(tamt, omp).tolist() == [[4, 4], [6, 7]]
    assert paired(tamt, omp, 0.5).tolist() == [[4.5, 5], [6.5, 8]]
    assert paired(omp, omp).tolist() == [[0, 0]]


def test_only_shared_seeds_are_paired() -> None:
    first = {(1, 1): 5.0, (2, 1): 7.0, (2, 2): 1.0}
    second = {(2, 1): 4.0, (3, 1): 0.0}
    assert paired(first, second).tolist() == [[3]]
    assert paired({(1, 1): 5.0}, {(2, 1): 4.0}).size == 0


def test_a_loss_has_no_runs() -> None:
    assert paired({(1, None): 3.0, (2, None): 5.0}, {(None, None): 1.0}).tolist() == [[2], [4]]


def test_one_factor_is_the_t_test() -> None:
    """With one mask (or one run) it is the paired t test over the other seeds."""
    values = np.array([1.2, 0.4, 2.2, 0.9])
    expected = stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    for table in (values[None], values[:, None]):
        found = effect(table)
        assert found is not None
        assert (found.value, found.p) == pytest.approx((values.mean(), expected.pvalue))
        assert (found.low, found.high) == pytest.approx(tuple(interval))


def test_two_factors_by_hand() -> None:
    """d = [[0, 2], [4, 6]]: means of masks 1 and 5, of runs 2 and 4, nothing left over. The mean
    squares are 2 · 8 = 16, 2 · 2 = 4 and 0, so the variance of the mean is 20 / 4 = 5 and
    Satterthwaite's degrees of freedom (16 + 4)² / (16² + 4²) = 400 / 272."""
    found = effect(np.array([[0.0, 2.0], [4.0, 6.0]]))
    assert found is not None
    reach = stats.t.ppf(0.975, 400 / 272) * 5**0.5
    assert found.value == 3
    assert (found.low, found.high) == pytest.approx((3 - reach, 3 + reach))
    assert found.p == pytest.approx(2 * stats.t.sf(3 / 5**0.5, 400 / 272))


def test_what_is_missing_is_left_out() -> None:
    nan = np.nan
    found = effect(np.array([[1.0, 2.0], [nan, 50.0], [3.0, 6.0]]))
    assert found is not None
    assert (found.value, found.masks, found.runs) == (3, 2, 2)
    single = effect(np.array([[1.0, nan, 3.0]]))
    assert single is not None
    assert (single.value, single.masks, single.runs) == (2, 1, 2)
    assert effect(np.array([[nan, nan]])) is None
    assert effect(np.empty((0, 0))) is None


def test_one_run_has_no_interval_and_sameness_no_doubt() -> None:
    lonely = effect(np.array([[2.0]]))
    assert lonely is not None
    assert (lonely.value, lonely.low, lonely.p) == (2, None, None)
    same = effect(np.zeros((3, 3)))
    assert same is not None
    assert (same.low, same.high, same.p) == (0, 0, 1)
    # Ahead by 4 of 300 examples under either mask.
    tied = effect(np.full((2, 1), 4 / 3))
    assert tied is not None
    assert (tied.value, tied.low, tied.high, tied.p) == (pytest.approx(4 / 3), None, None, None)


def test_holm_by_hand() -> None:
    """0.01 · 4, 0.02 · 3, 0.03 · 2 (not below its forerunner), 0.5 · 1."""
    assert holm([0.5, 0.01, None, 0.03, 0.02]) == pytest.approx([0.5, 0.04, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("masks", "runs", "spread"),
    [(3, 3, (1, 0, 1)), (3, 3, (1, 1, 1)), (3, 3, (1, 0.3, 0.5)), (9, 3, (0.3, 1, 0.5)),
     (2, 2, (1, 1, 1)), (3, 1, (1, 0, 0))],
)  # fmt: skip
def test_finds_nothing_where_nothing_is(
    masks: int, runs: int, spread: tuple[float, float, float]
) -> None:
    """True difference 0, spread of masks, runs and the rest: at most 8 % of 600 false alarms; a
    percentile bootstrap over three masks raises 12 to 30 %."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(600):
        d = (
            rng.normal(0, spread[0], (masks, 1))
            + rng.normal(0, spread[1], (1, runs))
            + rng.normal(0, spread[2], (masks, runs))
        )
        found = effect(d)
        alarms += found is not None and found.p is not None and found.p < 0.05
    assert alarms / 600 <= 0.08


def test_finds_what_is_there() -> None:
    """Ten points of difference, half a point of noise, three masks and three runs."""
    rng = np.random.default_rng(0)
    found = [effect(10 + rng.normal(0, 0.5, (3, 3))) for _ in range(100)]
    assert sum(e is not None and e.positive for e in found) >= 99
