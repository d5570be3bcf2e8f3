"""Score over search length: one row a length, in order, with what it cost."""

from collections.abc import Callable

import polars as pl
import pytest

from tamt_ray.analysis.results import Results, collect
from tamt_ray.analysis.stats.trajectories import searched_lengths, trajectories
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep


@pytest.fixture
def results(grid_text: Callable[..., str], fill_grid: Callable) -> Results:
    text = grid_text(
        tasks=("cola", "stsb"), sparsities=(0.6, 0.7), checkpoints=(25000, 1000), intervals=(200,)
    )
    plan = expand(parse_sweep(text))
    return collect(plan, fill_grid(plan))


def test_lengths_rise_within_a_search(results: Results) -> None:
    table = trajectories(results)
    lengths = table.filter(task="cola", sparsity=0.7).group_by("method", maintain_order=True)
    assert {method: part["iterations"].to_list() for (method,), part in lengths} == {
        "random": [0], "omp": [0], "imp": [1200, 16752], "tamt_mlm": [1000, 17000, 25000],
        "tamt_kd": [1000, 17000, 25000], "tamt_mlm_kd": [17000],
        "kd_from_random": [1000, 17000, 25000],
    }  # fmt: skip


def test_a_row_is_the_mean_over_masks_and_seeds(results: Results) -> None:
    row = trajectories(results).filter(
        method="tamt_mlm", sparsity=0.6, task="stsb", checkpoint=1000
    )  # fmt: skip
    scores = results.downstream.filter(
        method="tamt_mlm", sparsity=0.6, task="stsb", checkpoint=1000
    )["best"]  # fmt: skip
    assert row["n"][0] == len(scores) == 9
    assert row["mean"][0] == pytest.approx(100 * sum(scores) / 9)
    assert row["low"][0] < row["mean"][0] < row["high"][0]
    assert (row["seconds"][0], row["devices"][0]) == (pytest.approx(150.0), "NVIDIA A100")


def test_masks_timed_on_two_devices_name_both(results: Results) -> None:
    first = results.pretrain["mask_seed"] == 1
    mixed = results.pretrain.with_columns(
        device=pl.when(first).then(pl.lit("cpu")).otherwise("device")
    )
    row = trajectories(Results(results.downstream, mixed)).filter(method="imp")
    assert row["devices"].unique().to_list() == ["NVIDIA A100; cpu"]


def test_where_a_search_has_several_lengths(results: Results) -> None:
    table = trajectories(results)
    assert searched_lengths(table).rows() == [("bert", 0.6), ("bert", 0.7)]
    single = table.filter(pl.col("checkpoint").is_null())
    assert searched_lengths(single).is_empty()


def test_nothing_planned_gives_no_rows(results: Results) -> None:
    nothing = Results(results.downstream.clear(), results.pretrain.clear())
    assert trajectories(nothing).is_empty()
