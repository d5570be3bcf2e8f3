"""Averages against hand calculations; intervals against what a bootstrap must satisfy."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamt_ray.analysis.averages import AVERAGE, averages, losses, runs
from tamt_ray.analysis.bootstrap import mean_interval
from tamt_ray.analysis.results import collect
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
        cell.unit
        for cell in plan.cells
        if cell.kind == "finetune"
        and (cell.labels["method"], cell.labels["task"]) == ("imp", "movies")
        and (cell.labels["mask_seed"], cell.labels["seed"]) != (2, 1)
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
    for cell in plan.cells:
        if cell.labels.get("task") == "stsb" and cell.labels["method"] == "omp":
            del records[cell.unit]
    rows = rows_of(averages(runs(collect(plan, records).downstream)))
    assert rows["omp", AVERAGE]["mean"] is None
    assert rows["omp", AVERAGE]["missing_tasks"] == "stsb"
    assert rows["omp", "stsb"]["mean"] is None
    assert rows["omp", "movies"]["n"] == 2


def test_one_run_has_neither_deviation_nor_interval(sweep: Sweep, fill: Callable) -> None:
    single = expand(sweep.model_copy(update={"mask_seeds": (1,), "finetune_seeds": (1,)}))
    table = averages(runs(collect(single, fill(single)).downstream))
    assert table["mean"].null_count() == 0
    for column in ("std", "low", "high"):
        assert table[column].null_count() == table.height


def test_equal_scores_have_an_interval_of_no_width(plan: Plan, fill: Callable) -> None:
    table = averages(runs(collect(plan, fill(plan, lambda _: 0.5)).downstream))
    for column in ("mean", "low", "high"):
        assert table[column].to_list() == pytest.approx([50.0] * table.height)
    assert table["std"].to_list() == pytest.approx([0.0] * table.height)


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


groups = st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=4), min_size=1, max_size=4)


@given(groups)
def test_interval_lies_within_the_runs(values: list[list[float]]) -> None:
    found = mean_interval([np.array(group) for group in values], np.random.default_rng(0), 200)
    flat = [value for group in values for value in group]
    if len(flat) < 2:
        assert found is None
    else:
        assert found is not None
        assert min(flat) - 1e-12 <= found[0] <= found[1] <= max(flat) + 1e-12


def test_interval_of_one_mask_is_the_normal_one_for_many_runs() -> None:
    values = np.random.default_rng(3).normal(size=400)
    low, high = mean_interval([values], np.random.default_rng(0), 4000) or (0, 0)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.1 * half
    )


def test_masks_are_resampled_before_their_runs() -> None:
    # Runs of a mask agree, masks differ: 3 masks × 100 runs say as little as 3 runs.
    masks = [np.full(100, value) for value in (0.0, 1.0, 2.0)]
    nested = mean_interval(masks, np.random.default_rng(0))
    plain = mean_interval([np.array([0.0, 1.0, 2.0])], np.random.default_rng(0))
    pooled = mean_interval([np.concatenate(masks)], np.random.default_rng(0))
    assert nested is not None
    assert plain is not None
    assert pooled is not None
    assert nested == pytest.approx(plain, abs=0.35)
    assert nested[1] - nested[0] > 5 * (pooled[1] - pooled[0])
