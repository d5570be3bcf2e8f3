"""Records become tables: a row for each cell, empty where nothing was measured."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields

import polars as pl

from tamt_ray.analysis.results import collect, collect_searches
from tamt_ray.analysis.stats.summary import snapshot
from tamt_ray.analysis.stats.summary import summary as grid_summary
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Cell
from tamt_ray.spec.sweep import Sweep
from tamt_ray.tasks.scores import Evaluation, scores_of


def test_one_row_for_each_cell(plan: Plan, records: dict) -> None:
    results = collect(plan, records)
    # Dense and OMP: one mask; three further methods: two. Two tasks, two seeds each.
    assert results.pretrain.height == 1 + 1 + 3 * 2
    assert results.downstream.height == 8 * 2 * 2
    assert results.downstream["unit"].n_unique() == 8 * 2 * 2
    assert collect_searches(plan, records).height == 7


def test_values_are_those_of_the_record(plan: Plan, records: dict, known_score: Callable) -> None:
    for row in collect(plan, records).downstream.iter_rows(named=True):
        cell = Cell(**{field.name: row[field.name] for field in fields(Cell)})
        assert row["best"] == known_score(cell)
        assert row["last"] == row["best"] - 0.01
        assert (row["best_step"], row["steps"], row["examples"]) == (50, 60, 500)
        assert row["metric"] == {"stsb": "pearson", "movies": "accuracy"}[row["task"]]
        assert row[row["metric"]] == row["best"]


def test_any_metric_may_lead_when_the_table_is_made(
    plan: Plan, sweep: Sweep, records: dict
) -> None:
    """Accuracy was best at step 20 and F1 at step 40; no fine-tune is computed anew for it."""
    evaluations = [
        Evaluation(20, {"accuracy": 0.9, "f1": 0.5, "matthews": 0.1, "accuracy_2": 0.7}),
        Evaluation(40, {"accuracy": 0.8, "f1": 0.6, "matthews": 0.2, "accuracy_2": 0.6}),
        Evaluation(60, {"accuracy": 0.7, "f1": 0.4, "matthews": 0.0, "accuracy_2": 0.5}),
    ]
    measured = scores_of(evaluations, sweep.tasks["movies"].measured)
    records = {
        unit: record.model_copy(update={"metrics": measured})
        if plan.units[unit].cell.task == "movies"
        else record
        for unit, record in records.items()
    }
    told = {"accuracy": (0.9, 0.7, 20, 0.9, 0.5, 0.7), "f1": (0.6, 0.4, 40, 0.8, 0.6, 0.6)}
    for leader, values in told.items():
        movies = sweep.tasks["movies"].model_copy(update={"metric": leader})
        again = expand(sweep.model_copy(update={"tasks": {**sweep.tasks, "movies": movies}}))
        assert again.units.keys() == plan.units.keys()
        rows = collect(again, records).downstream.filter(pl.col("task") == "movies")
        columns = ("best", "last", "best_step", "accuracy", "f1", "accuracy_2")
        assert set(rows["metric"]) == {leader}
        assert set(rows.select(columns).rows()) == {values}


def test_mask_seed_is_absent_for_dense_and_omp(plan: Plan, records: dict) -> None:
    table = collect(plan, records).pretrain
    without = table.filter(pl.col("mask_seed").is_null())["method"].to_list()
    assert without == ["full", "omp"]
    assert table.filter(pl.col("method") == "full")["sparsity"].to_list() == [0.0]


def test_without_records_every_cell_is_there_and_empty(plan: Plan) -> None:
    results = collect(plan, {})
    assert results.downstream.height == 32
    assert results.downstream["best"].null_count() == 32
    assert results.downstream["unit"].null_count() == 0
    assert grid_summary(results)["runs"].to_list() == ["0/2", "0/4", "0/2", "0/4", "0/4"]


def test_a_chain_s_time_names_the_devices_of_all_its_levels(plan: Plan, records: dict) -> None:
    level = next(
        unit for unit in plan.units.values()
        if unit.id in records and getattr(unit.config, "below", None)
    )  # fmt: skip
    below = level.config.below  # pyright: ignore
    record = records[level.id]
    mixed = records | {below: record.model_copy(update={"id": below, "device": "4 x GPU"})}
    rows = collect(plan, mixed).pretrain.filter(
        (pl.col("method") == "imp")
        & (pl.col("mask_seed") == level.cell.mask_seed)
        & (pl.col("sparsity") >= level.cell.sparsity)
    )
    assert set(rows["device"]) == {" / ".join(sorted({"4 x GPU", record.device}))}


def test_foreign_records_are_ignored(
    plan: Plan, records: dict, sweep: Sweep, fill: Callable
) -> None:
    other = expand(sweep.model_copy(update={"sparsities": (0.3,)}))
    assert collect(plan, records | fill(other)).downstream.equals(collect(plan, records).downstream)


def test_summary_shows_spread_and_gaps(plan: Plan, records: dict) -> None:
    gone = next(
        unit
        for cell, unit in plan.cells["finetune"].items()
        if (cell.method, cell.task) == ("omp", "stsb")
    )
    del records[gone]
    rows = {
        row["method"]: row for row in grid_summary(collect(plan, records)).iter_rows(named=True)
    }
    # full: .9 + .010 + .002 seed: 91.2 and 91.4; sample standard deviation .2 / sqrt 2.
    assert rows["full"]["stsb %"] == "91.3 ± 0.1"
    assert rows["omp"]["stsb %"] == "61.4 (1/2)"
    assert rows["omp"]["runs"] == "1/2"
    assert rows["omp"]["mlm_loss"] == "5.010"
    assert rows["random"]["mlm_loss"] == "6.515 ± 0.007"


def test_summary_survives_a_task_called_like_a_column(sweep: Sweep, fill: Callable) -> None:
    tasks = dict.fromkeys(("model", "average", "runs", "mlm_loss"), sweep.tasks["stsb"])
    plan = expand(sweep.model_copy(update={"tasks": tasks}))
    table = grid_summary(collect(plan, fill(plan)))
    assert {"model", "model %", "average %", "runs", "runs %", "mlm_loss"} <= set(table.columns)


def test_sweep_without_tasks_has_losses_only(sweep: Sweep, fill: Callable) -> None:
    plan = expand(sweep.model_copy(update={"tasks": {}}))
    table = grid_summary(collect(plan, fill(plan)))
    assert table.columns == ["model", "method", "sparsity", "mlm_loss", "kd_loss"]
    assert table.height == 5


def test_the_tables_of_some_records_count_those_of_the_plan(plan: Plan, records: dict) -> None:
    some = dict(list(records.items())[:17])
    found = snapshot(plan, {**some, "0" * 64: next(iter(some.values()))})
    assert found.results.downstream.equals(collect(plan, some).downstream)
    assert sum(found.done.values()) == 17
    whole = snapshot(plan, records)
    assert whole.summary.equals(grid_summary(collect(plan, records)))
    assert whole.done["finetune"] == whole.total["finetune"] == 32


def test_the_best_of_each_column_among_methods_of_one_sparsity(plan: Plan, records: dict) -> None:
    """By the numbers of the printed table itself, which are rounded; dense rows are alone."""
    found = snapshot(plan, records)
    rows = found.summary.to_dicts()
    for row, best in zip(rows, found.best, strict=True):
        others = [r for r in rows if (r["model"], r["sparsity"]) == (row["model"], row["sparsity"])]
        for column in found.summary.columns[3:]:
            if column == "runs" or row[column] == "–":
                assert column not in best
                continue
            values = [float(r[column].split()[0]) for r in others if r[column] != "–"]
            top = min(values) if column.endswith("_loss") else max(values)
            if column in best:
                assert len(values) > 1
                assert float(row[column].split()[0]) == top
            elif len(values) > 1:
                assert float(row[column].split()[0]) != top or values.count(top) > 1


def test_tables_load_nothing_heavy() -> None:
    code = (
        "import sys, tamt_ray.analysis.stats.summary, tamt_ray.analysis.stats.correlation\n"
        "heavy = {'torch', 'ray', 'mlflow', 'transformers', 'vl_convert'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
