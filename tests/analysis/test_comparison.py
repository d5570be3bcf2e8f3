"""Every two methods of one sparsity, corrected for their number."""

import polars as pl
import pytest
from scipy import stats

from tamt_ray.analysis.stats.comparison import comparisons

COLUMNS = ["model", "method", "sparsity", "mask_seed", "seed", "task", "score"]


def table(scores: dict[tuple[str, int | None, int], float | None]) -> pl.DataFrame:
    rows = [("m", method, 0.5, mask, seed, "t", s) for (method, mask, seed), s in scores.items()]
    rows.append(("m", "full", 0.0, None, 1, "t", 90.0))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row", infer_schema_length=None)


def test_every_two_methods_once_and_holm() -> None:
    scores: dict[tuple[str, int | None, int], float | None] = {}
    for seed, noise in ((1, 0.0), (2, 0.4), (3, -0.5)):
        scores["omp", None, seed] = 60.0 + noise
        scores["imp", None, seed] = 63.0 + 2 * noise
        scores["tamt", None, seed] = 70.0 - noise
    found = comparisons(table(scores))
    assert found.select("a", "b").rows() == [("imp", "omp"), ("tamt", "omp"), ("tamt", "imp")]
    # IMP − OMP: 3, 3.4, 2.5; over TAMT − OMP: 10, 9.2, 11; TAMT − IMP: 7, 5.8, 8.5.
    expected = [
        stats.ttest_1samp(d, 0).pvalue for d in ((3, 3.4, 2.5), (10, 9.2, 11), (7, 5.8, 8.5))
    ]
    assert found["effect"].to_list() == pytest.approx([8.9 / 3, 30.2 / 3, 21.3 / 3])
    assert found["p"].to_list() == pytest.approx(expected)
    low, middle, high = sorted(expected)
    corrected = {low: 3 * low, middle: max(3 * low, 2 * middle)}
    corrected[high] = max(corrected[middle], high)
    assert found["p_holm"].to_list() == pytest.approx([corrected[p] for p in expected])


def test_missing_runs_are_counted_and_not_compared() -> None:
    """What one fine-tuning seed gives, under both masks or two under one, is no test."""
    scores = {("omp", None, 1): 60.0, ("omp", None, 2): 61.0, ("imp", 1, 1): 65.0,
              ("imp", 1, 2): None, ("imp", 2, 1): 66.0, ("imp", 2, 2): 68.0}  # fmt: skip
    row = comparisons(table(scores)).to_dicts()[0]
    assert row["masks"] * row["runs"] == 2
    assert (row["n_expected"], row["low"], row["p"]) == (4, None, None)
    assert row["reason"] in {"one mask seed", "one fine-tuning seed"}
    whole = {**scores, ("imp", 1, 2): 65.0}
    row = comparisons(table(whole)).to_dicts()[0]
    assert (row["effect"], row["masks"], row["runs"]) == (5.5, 2, 2)
    assert row["p"] is not None
    nothing = {**scores, ("omp", None, 1): None, ("omp", None, 2): None}
    row = comparisons(table(nothing)).to_dicts()[0]
    assert (row["effect"], row["p_holm"], row["n_expected"]) == (None, None, 4)


def test_no_rows_without_two_methods() -> None:
    assert comparisons(table({("omp", None, 1): 60.0})).is_empty()
