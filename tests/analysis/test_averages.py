"""Averages and their intervals against hand calculations."""

from collections.abc import Callable

import polars as pl
import pytest
from scipy import stats

from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import AVERAGE, averages, losses, runs
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.sweep import Sweep


def rows_of(table: pl.DataFrame) -> dict[tuple[str, str], dict]:
    return {(row["method"], row["task"]): row for row in table.iter_rows(named=True)}


def test_mean_and_deviation_by_hand(plan: Plan, records: dict) -> None:
    rows = rows_of(averages(runs(collect(plan, records).downstream)))
    # random, stsb: 30 + {1, 2} + {.2, .4} = 31.2, 31.4, 32.2, 32.4.
    found = rows["random", "stsb"]
    assert found["mean"] == pytest.approx(31.8)
    assert found["std"] == pytest.approx(((0.6**2 + 0.4**2) * 2 / 3) ** 0.5)
    assert (found["n"], found["n_expected"], found["missing"]) == (4, 4, 0)
    # movies lies 5 points lower everywhere, so the average of the two tasks lies 2.5 lower.
    assert rows["random", AVERAGE]["mean"] == pytest.approx(31.8 - 2.5)
    assert rows["random", AVERAGE]["std"] == pytest.approx(found["std"])


def test_average_over_tasks_uses_whole_runs_only(plan: Plan, records: dict) -> None:
    gone = [
        unit
        for cell, unit in plan.cells["finetune"].items()
        if (cell.method, cell.task) == ("imp", "movies") and (cell.mask_seed, cell.seed) != (2, 1)
    ]
    for unit in gone:
        del records[unit]
    rows = rows_of(averages(runs(collect(plan, records).downstream)))
    found = rows["imp", AVERAGE]
    # The one whole run, mask 2 and seed 1: 67.2 and 62.2.
    assert found["mean"] == pytest.approx(64.7)
    assert (found["n"], found["n_expected"], found["missing_tasks"]) == (1, 4, "movies")
    assert found["std"] is None
    assert found["low"] is None
    assert rows["imp", "stsb"]["missing"] == 0


def test_without_one_task_there_is_no_average(plan: Plan, records: dict) -> None:
    for cell, unit in plan.cells["finetune"].items():
        if (cell.method, cell.task) == ("omp", "stsb"):
            del records[unit]
    rows = rows_of(averages(runs(collect(plan, records).downstream)))
    assert rows["omp", AVERAGE]["mean"] is None
    assert rows["omp", AVERAGE]["missing_tasks"] == "stsb"
    assert rows["omp", "stsb"]["mean"] is None
    assert rows["omp", "movies"]["n"] == 2


@pytest.mark.parametrize("lonely", ["mask_seeds", "finetune_seeds"])
def test_one_seed_of_either_kind_has_no_interval(sweep: Sweep, fill: Callable, lonely: str) -> None:
    single = expand(sweep.model_copy(update={lonely: (1,)}))
    rows = rows_of(averages(runs(collect(single, fill(single)).downstream)))
    assert rows["random", "stsb"]["std"] > 0
    assert rows["random", "stsb"]["low"] is None
    # OMP has one mask by definition, so only the fine-tuning seeds count.
    assert (rows["omp", "stsb"]["low"] is None) == (lonely == "finetune_seeds")


def test_one_run_has_neither_deviation_nor_interval(sweep: Sweep, fill: Callable) -> None:
    single = expand(sweep.model_copy(update={"mask_seeds": (1,), "finetune_seeds": (1,)}))
    table = averages(runs(collect(single, fill(single)).downstream))
    assert table["mean"].null_count() == 0
    for column in ("std", "low", "high"):
        assert table[column].null_count() == table.height


def test_equal_scores_have_no_interval(plan: Plan, fill: Callable) -> None:
    """Scores of a few hundred examples tie by their coarseness; that is no certainty."""
    table = averages(runs(collect(plan, fill(plan, lambda _: 0.5)).downstream))
    assert table["mean"].to_list() == pytest.approx([50.0] * table.height)
    assert table["std"].to_list() == pytest.approx([0.0] * table.height)
    assert table["low"].null_count() == table.height


def test_intervals_by_hand(plan: Plan, records: dict) -> None:
    """random: means of masks 31.3 and 32.3, of seeds 31.7 and 31.9, nothing left over. The mean
    squares are 2 · 0.5 = 1 and 2 · 0.02 = 0.04. OMP: 60 + 1 + {.2, .4}, a t interval."""
    rows = rows_of(averages(runs(collect(plan, records).downstream)))
    freedom = 1.04**2 / (1 + 0.04**2)
    reach = stats.t.ppf(0.975, freedom) * (1.04 / 4) ** 0.5
    found = rows["random", "stsb"]
    assert (found["low"], found["high"]) == pytest.approx((31.8 - reach, 31.8 + reach))
    reach = stats.t.ppf(0.975, 1) * 0.1
    found = rows["omp", "stsb"]
    assert (found["low"], found["high"]) == pytest.approx((61.3 - reach, 61.3 + reach))


def test_same_records_same_numbers(plan: Plan, records: dict) -> None:
    each = runs(collect(plan, records).downstream)
    assert averages(each).equals(averages(each))


def test_losses_by_hand(plan: Plan, records: dict) -> None:
    row = losses(collect(plan, records).pretrain).filter(pl.col("method") == "imp").to_dicts()[0]
    # 8 − 5 · .65 + {.01, .02}
    assert row["mlm_loss"] == pytest.approx(4.765)
    assert row["mlm_std"] == pytest.approx(0.01 / 2**0.5)
    assert row["kd_loss"] == pytest.approx(0.25)
    assert row["n"] == 2
