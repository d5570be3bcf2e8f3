"""95 % intervals cover the truth in at least 93 % of simulated sweeps, or there is none.

The crossed design of a sweep: a mask seed and a fine-tuning seed each add their own deviation, and
every run one more. docs/paper.md has the table of these figures.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from tamt_ray.analysis.stats.averages import averages
from tamt_ray.analysis.stats.effect import Cells, Design, Effect, design, effect, paired

Spread = tuple[float, float, float]
"""Standard deviations of masks, of fine-tuning seeds, and of single runs."""

SPREADS: tuple[Spread, ...] = (
    (1, 0, 0),
    (0, 1, 0),
    (0, 0, 1),
    (1, 1, 1),
    (1, 0.3, 0.5),
    (0.3, 1, 0.5),
)
SWEEPS = 1500
LEAST = 0.93


def simulated(masks: int, runs: int, spread: Spread) -> Iterator[np.ndarray]:
    """Deviations from a true mean of 0 [masks, runs], one table a sweep."""
    rng = np.random.default_rng(20220421)
    for _ in range(SWEEPS):
        of_masks, of_runs = rng.normal(size=(masks, 1)), rng.normal(size=(1, runs))
        rest = rng.normal(size=(masks, runs))
        yield spread[0] * of_masks + spread[1] * of_runs + spread[2] * rest


def covers(found: Effect | None) -> bool:
    assert found is not None
    assert found.low is not None, found.reason
    assert found.high is not None
    return found.low <= 0 <= found.high


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("shape", [(3, 3), (2, 2), (3, 5)])
def test_means_of_a_searched_mask(shape: tuple[int, int], spread: Spread) -> None:
    hits = [covers(effect(Design(table))) for table in simulated(*shape, spread)]
    assert np.mean(hits) >= LEAST


@pytest.mark.parametrize("spread", [(0, 1, 0), (0, 0, 1), (0, 1, 1)])
def test_means_of_the_one_mask_of_omp(spread: Spread) -> None:
    tables = simulated(1, 3, spread)
    assert np.mean([covers(effect(Design(table, masks=False))) for table in tables]) >= LEAST


def test_means_of_losses() -> None:
    tables = simulated(3, 1, (1, 0, 0))
    assert np.mean([covers(effect(Design(table, runs=False))) for table in tables]) >= LEAST


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (2, 1), (1, 1)])
def test_no_interval_from_one_seed_of_a_factor(shape: tuple[int, int]) -> None:
    for table in (*simulated(*shape, (1, 1, 1)),)[:20]:
        found = effect(Design(table))
        assert found is not None
        assert (found.low, found.high, found.p) == (None, None, None)


@pytest.mark.parametrize("spread", [(1, 1, 1), (1, 0.3, 0.5), (0.3, 1, 0.5)])
def test_bands_of_a_report_with_runs_missing(spread: Spread) -> None:
    """As tables and figures have it: two of nine runs are not there yet."""
    rng = np.random.default_rng(1)
    rows = []
    for number, table in zip(range(500), simulated(3, 3, spread), strict=False):
        gone = set(rng.choice(9, 2, replace=False))
        rows += [
            ("m", f"method {number}", 0.5, mask + 1, run + 1, "t",
             None if 3 * mask + run in gone else float(table[mask, run]))
            for mask in range(3)
            for run in range(3)
        ]  # fmt: skip
    columns = ["model", "method", "sparsity", "mask_seed", "seed", "task", "score"]
    runs = pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)
    runs = runs.with_columns(absent=pl.lit([], pl.List(pl.String)), baseline=pl.lit(None))
    found = averages(runs)
    assert set(found["n"]) == {7}
    known = found.drop_nulls("low")
    assert known.height == found.height
    assert known.filter((pl.col("low") <= 0) & (pl.col("high") >= 0)).height / 500 >= LEAST


def seeded(table: np.ndarray, *, one_mask: bool = False) -> Cells:
    return {
        (None if one_mask else mask + 1, run + 1): float(value)
        for (mask, run), value in np.ndenumerate(table)
    }


@pytest.mark.parametrize("runs", [1, 3])
def test_differences_to_omp_raise_few_false_alarms(runs: int) -> None:
    """Two methods of one true mean: with one fine-tuning seed there is no p value at all, with
    three at most 7 % are below 0.05."""
    alarms = 0
    of_omp = simulated(1, runs, (0, 1, 0.7))
    for searched, omp in zip(simulated(3, runs, (0.5, 1, 0.7)), of_omp, strict=True):
        found = effect(paired(seeded(searched), seeded(omp, one_mask=True)))
        assert found is not None
        assert (found.p is None) == (runs == 1)
        alarms += found.p is not None and found.p < 0.05
    assert alarms / SWEEPS <= 1 - LEAST


def test_a_mask_counts_as_one_seed_however_often_it_is_tuned() -> None:
    """100 runs of each of three masks say as little about the method as three runs do."""
    masks = np.repeat([[0.0], [1.0], [2.0]], 100, axis=1)
    many, few = effect(design(seeded(masks))), effect(Design(masks[:, :1], runs=False))
    assert many is not None
    assert few is not None
    assert (many.low, many.high) == pytest.approx((few.low, few.high))
