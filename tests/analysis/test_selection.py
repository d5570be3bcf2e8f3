"""Scores whose evaluation is chosen on the other half, and what the usual choice gains."""

from dataclasses import replace

import polars as pl
import pytest

from tamt_ray.analysis.report.page import build_report
from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import optimism
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import FinetuneConfig
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.record import Record

GAIN = {"full": 0.01, "omp": 0.02, "random": 0.03, "imp": 0.03, "tamt_kd": 0.06}


@pytest.fixture
def halved(plan: Plan, records: dict[str, Record]) -> dict[str, Record]:
    """Records whose scores are lower by a known gain where they are chosen on the other half."""
    found = dict(records)
    for cell, unit in plan.cells["finetune"].items():
        config, record = plan.units[unit].config, records[unit]
        assert isinstance(config, FinetuneConfig)
        metrics = dict(record.metrics)
        for name in config.task.measured:
            gain = GAIN[cell.method]
            metrics[f"half/{name}/{name}"] = metrics[f"best/{name}/{name}"] - gain
            metrics |= {f"half/{name}/step_1": 50, f"half/{name}/step_2": 60}
        found[unit] = record.model_copy(update={"metrics": metrics})
    return found


def test_select_half_changes_scores_and_no_id(
    plan: Plan, sweep_text: str, halved: dict[str, Record]
) -> None:
    other = expand(parse_sweep(sweep_text + "report: {select: half}\n"))
    assert list(other.units) == list(plan.units)
    assert other.cells == plan.cells
    usual, honest = (collect(p, halved).downstream for p in (plan, other))
    gains = (usual["best"] - honest["best"]).to_list()
    assert gains == pytest.approx([GAIN[method] for method in usual["method"]])
    assert usual["last"].equals(honest["last"])
    assert honest["best_step"].null_count() == honest.height
    for table in (usual, honest):
        assert table["optimism"].to_list() == pytest.approx(gains)


def test_records_from_before_predictions_are_missing_and_no_error(
    plan: Plan, records: dict[str, Record]
) -> None:
    found = collect(replace(plan, select="half"), records).downstream
    assert found["best"].null_count() == found.height > 0
    usual = collect(plan, records).downstream
    assert usual["best"].null_count() == 0
    assert usual["optimism"].null_count() == usual.height
    assert optimism(usual)["n"].to_list() == [0, 0]


def test_the_gain_by_task_and_its_spread_over_methods(
    plan: Plan, halved: dict[str, Record], records: dict[str, Record]
) -> None:
    dense = plan.cells["finetune"]
    gone = next(unit for cell, unit in dense.items() if (cell.method, cell.task) == ("omp", "stsb"))
    found = optimism(collect(plan, {**halved, gone: records[gone]}).downstream)
    stsb = found.filter(pl.col("task") == "stsb").to_dicts()[0]
    # Two fine-tuning seeds: two runs of the dense model, one of OMP's, four of each other method.
    assert stsb["mean"] == pytest.approx(100 * (2 * 0.01 + 0.02 + 8 * 0.03 + 4 * 0.06) / 15)
    assert (stsb["least"], stsb["most"]) == pytest.approx((1.0, 6.0))
    assert (stsb["n"], stsb["n_expected"]) == (15, 16)


def test_the_report_says_how_scores_were_chosen(
    plan: Plan, sweep_text: str, halved: dict[str, Record], records: dict[str, Record]
) -> None:
    text = sweep_text + "report: {select: half}\n"
    sweep = parse_sweep(text)
    page = build_report(sweep, expand(sweep), halved)["report.html"].decode()
    assert "Choice of the best evaluation" in page
    assert "best on the other half" in page
    usual = build_report(parse_sweep(sweep_text), plan, records)["report.html"].decode()
    assert "Choice of the best evaluation" not in usual
    assert "best dev value seen in training" in usual
