"""Coefficients against scipy; what cannot be computed is said, not raised."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import AVERAGE
from tamt_ray.analysis.stats.correlation import STATISTICS, correlate, correlations, points
from tamt_ray.methods.imp import Imp
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.sweep import Sweep

pairs = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=12)


@given(pairs)
def test_equal_to_scipy_with_ties(drawn: list[tuple[int, int]]) -> None:
    x, y = np.array(drawn, dtype=float).T
    assume(np.ptp(x) > 0)
    assume(np.ptp(y) > 0)
    found = correlate(x, y, np.random.default_rng(0), draws=50)
    expected = {
        "pearson": stats.pearsonr(x, y).statistic,
        "spearman": stats.spearmanr(x, y).statistic,
        "kendall": stats.kendalltau(x, y).statistic,
    }
    for name in STATISTICS:
        assert found[name].value == pytest.approx(expected[name], abs=1e-9)


def test_interval_is_the_percentile_bootstrap_of_scipys_coefficients() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=15)
    y = np.round(x + rng.normal(size=15), 1)
    found = correlate(x, y, np.random.default_rng(1), draws=1000)
    places = np.random.default_rng(2).integers(15, size=(500, 15))
    functions = {
        "pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau,
    }  # fmt: skip
    for name in STATISTICS:
        drawn = [functions[name](x[row], y[row]).statistic for row in places]
        expected = np.quantile(drawn, [0.025, 0.975])
        assert (found[name].low, found[name].high) == pytest.approx(expected, abs=0.08)


def test_like_points_are_resampled_as_one() -> None:
    """Groups of one, two and three points: each resample is built point by point for scipy."""
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(6), [1, 2, 3, 1, 2, 3])
    x = np.round(rng.normal(size=12) + groups, 1)
    y = np.round(rng.normal(size=12) - groups / 2, 1)
    found = correlate(x, y, np.random.default_rng(1), draws=2000, groups=groups)
    functions = {
        "pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau,
    }  # fmt: skip
    drawn = [
        np.concatenate([np.flatnonzero(groups == g) for g in row])
        for row in np.random.default_rng(2).integers(6, size=(1000, 6))
        if len(set(row)) > 1
    ]
    alone = correlate(x, y, np.random.default_rng(1), draws=2000)
    for name in STATISTICS:
        expected = np.quantile([functions[name](x[r], y[r]).statistic for r in drawn],
                               [0.025, 0.975])  # fmt: skip
        ours = found[name]
        assert ours.value == pytest.approx(functions[name](x, y).statistic)
        assert (ours.low, ours.high) == pytest.approx(expected, abs=0.05)
        assert ours.low != alone[name].low


def test_three_groups_have_no_interval() -> None:
    x, y = np.arange(6.0), -np.arange(6.0)
    groups = np.array([0, 0, 1, 1, 2, 2])
    found = correlate(x, y, np.random.default_rng(0), groups=groups)["spearman"]
    assert (found.value, found.low, found.high, found.reason) == (-1, None, None, None)


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([], [], "0 of at least 3 points"),
        ([1.0, 2.0], [1.0, 2.0], "2 of at least 3 points"),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "the loss is the same everywhere"),
        ([1.0, 2.0, 3.0], [0.1 + 0.2, 0.3, 0.3], "the score is the same everywhere"),
    ],
)
def test_undefined_has_a_reason(x: list[float], y: list[float], reason: str) -> None:
    for found in correlate(np.array(x), np.array(y), np.random.default_rng(0)).values():
        assert (found.value, found.low, found.high, found.reason) == (None, None, None, reason)


def test_a_point_is_the_mean_over_finetuning_seeds(plan: Plan, records: dict) -> None:
    table = points(collect(plan, records))
    assert table.height == 8 * 3
    row = table.filter(
        (pl.col("method") == "imp") & (pl.col("mask_seed") == 2) & (pl.col("task") == AVERAGE)
    ).to_dicts()[0]
    # 65 + 2 + mean(.2, .4), less half of the five points that movies loses.
    assert row["score"] == pytest.approx(67.3 - 2.5)
    assert (row["runs"], row["runs_expected"]) == (2, 2)


def test_scopes_and_counts(sweep: Sweep, fill: Callable) -> None:
    plan = expand(sweep.model_copy(update={"sparsities": (0.3, 0.5)}))
    records = fill(plan)
    gone = next(
        unit for cell, unit in plan.cells["pretrain_eval"].items() if cell.method == "tamt_kd"
    )
    del records[gone]
    table = correlations(points(collect(plan, records)), draws=20)
    counts = {
        (row["scope"], row["sparsity"]): (row["n"], row["n_expected"])
        for row in table.filter(pl.col("task") == AVERAGE).iter_rows(named=True)
    }
    assert counts == {
        ("all", None): (14, 15),
        ("subnetworks", None): (13, 14),
        ("sparsity", 0.3): (6, 7),
        ("sparsity", 0.5): (7, 7),
    }


def test_a_mask_with_two_names_is_one_point(sweep: Sweep, fill: Callable) -> None:
    methods = tuple(
        method.model_copy(update={"step": 0.5}) if isinstance(method, Imp) else method
        for method in sweep.methods
    )
    plan = expand(sweep.model_copy(update={"methods": methods}))
    table = points(collect(plan, fill(plan))).filter(pl.col("task") == "stsb")
    # full, two random, OMP (which is IMP's first level), two TAMT.
    assert table["method"].to_list() == ["full", "random", "random", "omp", "tamt_kd", "tamt_kd"]


def test_falling_loss_with_rising_score_is_negative(plan: Plan, records: dict) -> None:
    table = correlations(points(collect(plan, records)), draws=50)
    row = table.filter(
        (pl.col("scope") == "all") & (pl.col("loss") == "mlm_loss") & (pl.col("task") == "stsb")
        & (pl.col("statistic") == "kendall")
    ).row(0, named=True)  # fmt: skip
    # Of 28 pairs only the two masks within each of three methods agree in direction.
    assert row["value"] == pytest.approx((3 - 25) / 28)
    assert row["n"] == 8
