"""Scores of the best constant answer: from records, by definition, or not known."""

import polars as pl
import pytest
from matplotlib.figure import Figure

from tamt_ray.analysis.figures.panels import frame_scores
from tamt_ray.analysis.report.tables import scores_table
from tamt_ray.analysis.report_data import gather
from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import AVERAGE, averages, runs
from tamt_ray.analysis.stats.baselines import no_better
from tamt_ray.analysis.stats.summary import summary
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
    html = scores_table(gather(sweep, plan, recorded, {}))
    assert '<th scope="row">best constant answer</th><td>28.2</td><td>0.0</td>' in html
    body = html.split("<tbody>")[1]
    marked = {
        row.split('scope="row">')[1].split("<")[0]
        for row in body.split("</tr>")
        if "≤ constant" in row
    }
    assert marked == {"random", "omp"}
    texts = dict(summary(collect(plan, recorded)).select("method", "movies %").rows())
    assert {method for method, text in texts.items() if "≤ constant" in text} == marked


def test_a_panel_shows_it_where_scores_come_near(plan: Plan, recorded: dict) -> None:
    table = averages(runs(collect(plan, recorded).downstream)).filter(task="movies")
    axes = Figure().subplots()
    axes.set_ylim(60, 90)
    frame_scores(axes, table)
    assert not axes.lines
    axes.set_ylim(50, 90)
    frame_scores(axes, table)
    assert [line.get_ydata()[0] for line in axes.lines] == [pytest.approx(56.5)]


def test_wide_bands_do_not_dwarf_the_means() -> None:
    """Means from 50 to 60: a panel reaches from 40 to 70 at most, however wide the bands are."""
    rows = pl.DataFrame({"mean": [50.0, None, 60.0], "baseline": [None, None, None]})
    axes = Figure().subplots()
    axes.set_ylim(-100, 66)
    frame_scores(axes, rows)
    assert axes.get_ylim() == (40, 66)
