"""Means and paired differences: by hand, against scipy, and silent where seeds cannot tell."""

import numpy as np
import pytest
from scipy import stats

from tamt_ray.analysis.stats.effect import Design, effect, holm, paired
from tamt_ray.analysis.stats.trajectories import per_doubling


def test_pairs_by_seed_and_broadcasts_the_single_mask() -> None:
    tamt = {(1, 1): 5.0, (1, 2): 6.0, (2, 1): 7.0, (2, 2): 9.0}
    omp = {(None, 1): 1.0, (None, 2): 2.0}
    assert paired(tamt, omp).values.tolist() == [[4, 4], [6, 7]]
    assert paired(tamt, omp, 0.5).values.tolist() == [[4.5, 5], [6.5, 8]]
    same = paired(omp, omp)
    assert (same.values.tolist(), same.masks, same.runs) == ([[0, 0]], False, True)
    assert paired(tamt, omp)[1:] == (True, True)


def test_only_shared_seeds_are_paired() -> None:
    first = {(1, 1): 5.0, (2, 1): 7.0, (2, 2): 1.0}
    second = {(2, 1): 4.0, (3, 1): 0.0}
    assert paired(first, second).values.tolist() == [[3]]
    assert paired({(1, 1): 5.0}, {(2, 1): 4.0}).values.size == 0


def test_a_loss_has_no_runs() -> None:
    found = paired({(1, None): 3.0, (2, None): 5.0}, {(None, None): 1.0})
    assert (found.values.tolist(), found.masks, found.runs) == ([[2], [4]], True, False)


def test_one_factor_is_the_t_test() -> None:
    """Of a single mask by definition, or of a loss, it is the t test over the other seeds."""
    values = np.array([1.2, 0.4, 2.2, 0.9])
    expected = stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    for table in (Design(values[None], masks=False), Design(values[:, None], runs=False)):
        found = effect(table)
        assert found is not None
        assert (found.value, found.p) == pytest.approx((values.mean(), expected.pvalue))
        assert (found.low, found.high) == pytest.approx(tuple(interval))


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (Design(np.array([[1.0, 2.0, 4.0]])), "one mask seed"),
        (Design(np.array([[1.0], [2.0], [4.0]])), "one fine-tuning seed"),
        (Design(np.array([[1.0]])), "one mask seed and one fine-tuning seed"),
        (Design(np.array([[1.0]]), masks=False), "one fine-tuning seed"),
        (Design(np.array([[1.0]]), masks=False, runs=False), "a single value"),
    ],
)
def test_one_seed_of_a_factor_has_no_interval(table: Design, reason: str) -> None:
    found = effect(table)
    assert found is not None
    assert found.value == table.values.mean()
    assert (found.low, found.high, found.p, found.reason) == (None, None, None, reason)


def test_two_factors_by_hand() -> None:
    """d = [[0, 2], [4, 6]]: means of masks 1 and 5, of runs 2 and 4, nothing left over. The mean
    squares are 2 · 8 = 16, 2 · 2 = 4 and 0, so the variance of the mean is 20 / 4 = 5 and
    Satterthwaite's degrees of freedom (16 + 4)² / (16² + 4²) = 400 / 272."""
    found = effect(Design(np.array([[0.0, 2.0], [4.0, 6.0]])))
    assert found is not None
    reach = stats.t.ppf(0.975, 400 / 272) * 5**0.5
    assert found.value == 3
    assert (found.low, found.high) == pytest.approx((3 - reach, 3 + reach))
    assert found.p == pytest.approx(2 * stats.t.sf(3 / 5**0.5, 400 / 272))


def test_what_is_missing_is_left_out() -> None:
    nan = np.nan
    found = effect(Design(np.array([[1.0, 2.0], [nan, 50.0], [3.0, 6.0]])))
    assert found is not None
    assert (found.value, found.masks, found.runs) == (3, 2, 2)
    single = effect(Design(np.array([[1.0, nan, 3.0]]), masks=False))
    assert single is not None
    assert (single.value, single.masks, single.runs) == (2, 1, 2)
    assert effect(Design(np.array([[nan, nan]]))) is None
    assert effect(Design(np.empty((0, 0)))) is None


def test_two_seeds_of_both_factors_beat_many_of_one() -> None:
    """Five runs of the first mask are more than two runs of two, but say nothing about masks."""
    nan = np.nan
    found = effect(Design(np.array([[1.0, 3.0, 9.0, 9.0, 9.0], [2.0, 4.5, nan, nan, nan]])))
    assert found is not None
    assert (found.value, found.masks, found.runs) == (2.625, 2, 2)
    assert found.low is not None


def test_scores_that_tie_are_no_certainty() -> None:
    same = effect(Design(np.zeros((3, 3))))
    assert same is not None
    assert (same.low, same.high, same.p) == (None, None, 1)
    # Ahead by 4 of 300 examples under either mask.
    tied = effect(Design(np.full((2, 2), 4 / 3)))
    assert tied is not None
    assert (tied.value, tied.low, tied.high, tied.p) == (pytest.approx(4 / 3), None, None, None)


def test_holm_by_hand() -> None:
    """0.01 · 4, 0.02 · 3, 0.03 · 2 (not below its forerunner), 0.5 · 1."""
    assert holm([0.5, 0.01, None, 0.03, 0.02]) == pytest.approx([0.5, 0.04, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_finds_what_is_there() -> None:
    """Ten points of difference, half a point of noise, three masks and three runs."""
    rng = np.random.default_rng(0)
    found = [effect(Design(10 + rng.normal(0, 0.5, (3, 3)))) for _ in range(100)]
    assert sum(e is not None and e.positive for e in found) >= 99


def test_slope_by_hand() -> None:
    """1, 2 and 6 at 1,000, 2,000 and 4,000 steps: (6 − 1) / 2 a doubling. Seed 2 lacks a point."""
    curves = {1000: {(1, 1): 1.0, (1, 2): 5.0}, 2000: {(1, 1): 2.0}, 4000: {(1, 1): 6.0}}
    assert per_doubling(curves) == {(1, 1): pytest.approx(2.5)}
    assert per_doubling({1000: {(1, 1): 1.0}}) == {}
