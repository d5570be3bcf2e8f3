"""Scores of the best constant answer: from records, by definition, or not known."""

import json

import polars as pl
import pytest

from tamt_ray.analysis.figures.losses import mlm_loss_by_task
from tamt_ray.analysis.report.blocks import ReportTable
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.sections import scores
from tamt_ray.analysis.report_data import gather
from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import AVERAGE, averages, no_better, runs
from tamt_ray.analysis.stats.summary import markdown, snapshot
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep


@pytest.fixture
def recorded(plan: Plan, records: dict) -> dict:
    """On movies a constant answer gets 56.5 %, between random pruning and OMP."""
    for cell, unit in plan.cells["finetune"].items():
        if cell.task == "movies":
            record = records[unit]
            metrics = {**record.metrics, "baseline/accuracy": 0.565}
            records[unit] = record.model_copy(update={"metrics": metrics})
    return records


def rows(table: pl.DataFrame) -> dict[tuple[str, str], dict]:
    return {(row["method"], row["task"]): row for row in table.iter_rows(named=True)}


def test_recorded_or_by_definition(plan: Plan, recorded: dict) -> None:
    """Pearson's r of constant predictions is 0; the average is over both tasks."""
    found = rows(averages(runs(collect(plan, recorded).downstream)))
    assert found["omp", "movies"]["baseline"] == pytest.approx(56.5)
    assert found["omp", "stsb"]["baseline"] == 0
    assert found["omp", AVERAGE]["baseline"] == pytest.approx(28.25)


def test_without_a_record_there_is_none(plan: Plan, records: dict) -> None:
    found = rows(averages(runs(collect(plan, records).downstream)))
    assert found["omp", "movies"]["baseline"] is None
    assert found["omp", AVERAGE]["baseline"] is None
    assert not no_better(found["random", "movies"])


def test_at_or_below_is_no_better() -> None:
    assert no_better({"mean": 50.0, "baseline": 50.0})
    assert no_better({"mean": 40.0, "baseline": 50.0})
    assert not no_better({"mean": 50.1, "baseline": 50.0})
    assert not no_better({"mean": None, "baseline": 50.0})


def test_tables_mark_what_is_no_better(sweep: Sweep, plan: Plan, recorded: dict) -> None:
    """Random pruning has 26.8 on movies, OMP 56.3, IMP 61.8, TAMT-KD 66.8."""
    table, *_ = scores.section(Context(gather(sweep, plan, recorded, {})))
    assert isinstance(table, ReportTable)
    constant = [cell if isinstance(cell, str) else cell.text for cell in table.rows[-1]]
    assert constant == ["best constant answer", "28.2", "0.0", "56.5", "–"]
    marked = {row[0] for row in table.rows[:-1] if any("≤" in c.warning for c in row[1:-1])}
    assert marked == {"random", "omp"}
    whole = snapshot(plan, recorded)
    texts = dict(whole.summary.select("method", "movies %").rows())
    *_, last = markdown(whole.summary).splitlines()
    assert last == "| mini | constant | – | 28.2 | 0.0 | 56.5 | – | – | – |"
    assert (len(whole.best), whole.best[-1]) == (whole.summary.height, frozenset())
    assert {method for method, text in texts.items() if "≤ constant" in text} == marked


def test_losses_against_scores_have_the_line(sweep: Sweep, plan: Plan, recorded: dict) -> None:
    def lines(known: dict) -> int:
        (figure,) = mlm_loss_by_task(gather(sweep, plan, known, {}))
        return json.dumps(figure.spec).count("best constant answer")

    unknown = {i: r.model_copy(update={"metrics": _bare(r.metrics)}) for i, r in recorded.items()}
    assert lines(recorded) == lines(unknown) + 1, "on movies"


def _bare(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("baseline/")}
