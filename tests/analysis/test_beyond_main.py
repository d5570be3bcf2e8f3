"""Checkpoints and smaller training sets: in their own columns, and never in the main results."""

from collections.abc import Callable

import polars as pl
import pytest

from tamt_ray.analysis.results import Results, collect, collect_searches, main_rows
from tamt_ray.analysis.stats.averages import (
    AVERAGE,
    FIVE,
    FIVE_AVERAGE,
    averages,
    leading_task,
    losses,
    runs,
)
from tamt_ray.analysis.stats.correlation import correlations, points
from tamt_ray.analysis.stats.summary import summary
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.load import parse_sweep

Fill = Callable[[Plan], dict]


@pytest.fixture
def plan_of(grid_text: Callable[..., str]) -> Callable[..., Plan]:
    def build(**changes: object) -> Plan:
        small = {"tasks": ("cola", "stsb"), "sparsities": (0.7,), "checkpoints": (1000,)}
        return expand(parse_sweep(grid_text(**{**small, **changes})))

    return build


def results_of(plan: Plan, fill_grid: Fill) -> Results:
    return collect(plan, fill_grid(plan))


def test_what_the_search_took_stands_beside_each_result(
    plan_of: Callable[..., Plan], fill_grid: Fill
) -> None:
    plan = plan_of()
    found = results_of(plan, fill_grid)
    searches = collect_searches(plan, fill_grid(plan))
    # IMP at 70 % trains six levels: 6 × 2792, and 6 × 500 for the shorter interval.
    expected = {
        ("full", None): None, ("random", None): 0, ("omp", None): 0, ("imp", None): 16752,
        ("imp", 3000): 3000, ("tamt_mlm", None): 17000, ("tamt_mlm", 1000): 1000,
        ("tamt_kd", None): 17000, ("tamt_kd", 1000): 1000, ("tamt_mlm_kd", None): 17000,
        ("kd_from_random", None): 17000, ("kd_from_random", 1000): 1000,
    }  # fmt: skip
    for table in (found.downstream, found.pretrain, searches):
        rows = table.select("method", "checkpoint", "iterations").unique().rows()
        assert {(method, at): n for method, at, n in rows} == {
            key: n for key, n in expected.items() if key[0] != "full" or table is not searches
        }
    row = found.downstream.filter(method="tamt_kd", checkpoint=1000).row(0, named=True)
    assert (row["search_seconds"], row["device"]) == (pytest.approx(160.0), "NVIDIA A100")
    # The fine-tune's own steps, not the label that names the checkpoint.
    assert row["steps"] == 60
    omp = found.downstream.filter(method="omp").row(0, named=True)
    assert omp["search_seconds"] == 0.0


def test_without_its_record_the_cost_of_a_search_is_unknown(
    plan_of: Callable[..., Plan], fill_grid: Fill
) -> None:
    plan = plan_of()
    done = {key: r for key, r in fill_grid(plan).items() if r.kind != "search"}
    row = collect(plan, done).downstream.filter(method="tamt_kd").row(0, named=True)
    assert (row["iterations"], row["search_seconds"], row["device"]) == (17000, None, None)


def test_main_tables_are_those_of_the_sweep_without_them(
    plan_of: Callable[..., Plan], fill_grid: Fill
) -> None:
    plain = results_of(plan_of(checkpoints=(), intervals=()), fill_grid)
    more = results_of(plan_of(reduced={"cola": (1000, 5000)}), fill_grid)
    assert more.downstream.height > plain.downstream.height
    assert main_rows(more.downstream).equals(plain.downstream)
    assert runs(more.downstream).equals(runs(plain.downstream))
    assert losses(more.pretrain).equals(losses(plain.pretrain))
    assert summary(more).equals(summary(plain))


def test_checkpoints_are_points_of_their_own(plan_of: Callable[..., Plan], fill_grid: Fill) -> None:
    table = points(results_of(plan_of(), fill_grid)).filter(task="cola")
    # full, OMP; three masks each of random, IMP twice, three TAMT twice and tamt_mlm_kd.
    assert table.height == 2 + 3 * (1 + 2 + 3 * 2 + 1)
    assert table["checkpoint"].count() == 3 * (1 + 3)


def test_correlation_without_random_masks_counts_the_others(
    plan_of: Callable[..., Plan], fill_grid: Fill
) -> None:
    cloud = points(results_of(plan_of(), fill_grid))
    table = correlations(cloud, draws=20, random=["random"]).filter(
        task="cola", loss="mlm_loss", statistic="pearson"
    )
    counts = dict(table.select("scope", "n").rows())
    assert counts == {"all": 32, "sparsity": 31, "chosen": 28}
    kept = cloud.filter(~pl.col("method").is_in(["random", "full"]), task="cola")
    expected = kept.select(pl.corr("mlm_loss", "score")).item()
    assert table.filter(scope="chosen")["value"][0] == pytest.approx(expected)


def test_sizes_are_kept_apart_and_not_averaged_over_tasks(
    plan_of: Callable[..., Plan], fill_grid: Fill
) -> None:
    found = results_of(plan_of(reduced={"cola": (1000, 5000)}), fill_grid)
    table = averages(runs(found.downstream, by="train_size"), by=("train_size",))
    omp = table.filter(method="omp")
    assert omp.select("task", "train_size").rows() == [
        ("cola", None), ("cola", 1000), ("cola", 5000), ("stsb", None),
    ]  # fmt: skip
    assert omp["n"].to_list() == [3, 3, 3, 3]
    assert table.filter(method="imp", task="cola", train_size=1000)["n"].to_list() == [9]


def test_five_tasks_are_averaged_where_a_sweep_has_more(
    plan_of: Callable[..., Plan], fill_grid: Fill
) -> None:
    found = results_of(plan_of(tasks=(*FIVE, "rte")), fill_grid)
    table = runs(found.downstream, by="checkpoint").filter(method="omp", seed=2)
    scores = dict(table.select("task", "score").rows())
    assert scores[FIVE_AVERAGE] == pytest.approx(sum(scores[task] for task in FIVE) / 5)
    assert scores[AVERAGE] == pytest.approx((5 * scores[FIVE_AVERAGE] + scores["rte"]) / 6)
    assert FIVE_AVERAGE not in set(runs(found.downstream)["task"])


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([], None),
        (["cola"], "cola"),
        (["cola", "rte"], AVERAGE),
        (list(FIVE), AVERAGE),
        (["rte", *FIVE], FIVE_AVERAGE),
    ],
)
def test_what_stands_for_all_tasks(
    grid_text: Callable[..., str], tasks: list[str], expected: str | None
) -> None:
    assert (
        leading_task(parse_sweep(grid_text(tasks=tasks or ["cola"])).tasks if tasks else {})
        == expected
    )


def test_roles_count_and_not_names(grid_text: Callable[..., str]) -> None:
    """Six tasks by other names: five stand for the paper's, and one has no role."""
    text = grid_text(tasks=("rte", *FIVE))
    for name in FIVE:
        text = text.replace(f"  {name}: {{", f"  my_{name}: {{")
    assert leading_task(parse_sweep(text.replace(", role: rte", "")).tasks) == FIVE_AVERAGE
    assert leading_task(parse_sweep(text.replace(", role: cola", "")).tasks) == AVERAGE


def test_no_average_where_the_plan_leaves_a_task_out(
    plan_of: Callable[..., Plan], fill_grid: Fill
) -> None:
    found = results_of(plan_of(), fill_grid).downstream
    partly = found.filter((pl.col("method") != "omp") | (pl.col("task") == "cola"))
    table = runs(partly)
    assert table.filter(method="omp")["task"].unique().to_list() == ["cola"]
    assert table.filter(method="imp", task=AVERAGE)["score"].null_count() == 0
    rows = summary(Results(partly, results_of(plan_of(), fill_grid).pretrain))
    assert rows.filter(method="omp").select("average %", "stsb %", "runs").row(0) == (
        "–", "–", "0/0",
    )  # fmt: skip
