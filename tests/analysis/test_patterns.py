"""The report compares each pattern with unstructured masks of the same method."""

from collections.abc import Callable

import pytest

from tamt_ray.analysis.report.blocks import ReportTable
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.sections import patterns
from tamt_ray.analysis.report_data import gather
from tamt_ray.analysis.roles import roles, unstructured_twins
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record

from .conftest import SWEEP

METHODS = """
methods:
  - {method: omp, pattern: "2:4"}
  - omp
  - {method: wanda, pattern: "4x1", per: matrix}
  - wanda
"""


@pytest.fixture
def patterned() -> Sweep:
    before, _, after = SWEEP.partition("methods:")
    return parse_sweep(before + METHODS.strip() + after[after.index("\n") :])


def test_twins_differ_in_the_pattern_alone(patterned: Sweep) -> None:
    assert [method.name for method in patterned.methods] == [
        "omp_2of4",
        "omp",
        "wanda_4x1",
        "wanda",
    ]
    # The two Wandas rank other weights together.
    assert unstructured_twins(patterned.methods) == {"omp_2of4": "omp"}
    assert roles(patterned) == {"omp": "omp"}


def test_the_table_has_the_difference(
    patterned: Sweep, fill: Callable[..., dict[str, Record]]
) -> None:
    plan = expand(patterned)
    (table,) = patterns.section(Context(gather(patterned, plan, fill(plan), {})))
    assert isinstance(table, ReportTable)
    rows = [[c if isinstance(c, str) else c.text for c in row] for row in table.rows]
    assert [row[3:] for row in rows] == [["5.010", "0.300"], ["5.510 (+0.500)", "0.400 (+0.100)"]]
    assert {row[0] for row in rows} == {"omp"}
