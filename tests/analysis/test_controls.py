"""The report says what part of a method's gain over random masks a control keeps."""

from collections.abc import Callable

from tamt_ray.analysis.report.blocks import Group, ReportTable
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.sections import controls
from tamt_ray.analysis.report_data import gather
from tamt_ray.analysis.roles import controlled
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Cell
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.record import Record

from .conftest import SWEEP

METHODS = """
methods:
  - random
  - omp
  - {method: shuffled, name: omp_rows, of: omp, within: row}
  - imp
  - {method: shuffled, name: imp_rows, of: imp, within: row}
  - {method: tamt_kd, steps: 40}
  - {method: tamt_kd, name: kd_shuffled, steps: 40, text: shuffled}
  - {method: tamt_kd, name: kd_longer, steps: 41, text: shuffled}
"""
SCORES = {
    "random": 0.5, "omp": 0.7, "omp_rows": 0.55, "tamt_kd": 0.8, "kd_shuffled": 0.8, "imp": 0.4,
    "imp_rows": 0.5,
}  # fmt: skip


def test_a_control_is_beside_what_it_controls(fill: Callable[..., dict[str, Record]]) -> None:
    before, _, after = SWEEP.partition("methods:")
    sweep = parse_sweep(before + METHODS.strip() + after[after.index("\n") :])
    # 40 steps are not 41.
    assert controlled(sweep.methods) == {
        "omp_rows": "omp", "imp_rows": "imp", "kd_shuffled": "tamt_kd",
    }  # fmt: skip
    plan = expand(sweep)

    def score(cell: Cell) -> float:
        return SCORES.get(cell.method, 0.9)

    (table,) = controls.section(Context(gather(sweep, plan, fill(plan, score), {})))
    assert isinstance(table, ReportTable)
    rows = [
        [c if isinstance(c, str) else c.text for c in row]
        for row in table.rows
        if not isinstance(row, Group)
    ]
    assert [(row[0], row[2], row[-1]) for row in rows] == [
        ("omp", "none", "70"),
        ("omp", "omp_rows", "55 (25%)"),
        ("imp", "none", "40"),
        ("imp", "imp_rows", "50"),  # IMP gains nothing here.
        ("tamt_kd", "none", "80"),
        ("tamt_kd", "kd_shuffled", "80 (100%)"),
    ]
