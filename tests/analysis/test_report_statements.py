"""The section of the report on the paper's statements."""

from collections.abc import Callable

from tamt_ray.analysis.report.blocks import Fold, ReportTable
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.sections import statements
from tamt_ray.analysis.report_data import gather
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record


def test_statements_that_nothing_decides_are_folded(
    sweep: Sweep, plan: Plan, all_records: dict
) -> None:
    context = Context(gather(sweep, plan, all_records, {}))
    found = list(statements.section(context))
    shown = next(block for block in found if isinstance(block, ReportTable))
    folded = next(block for block in found if isinstance(block, Fold)).blocks[0]
    assert isinstance(folded, ReportTable)
    assert len(shown.rows) + len(folded.rows) == len(context.evaluated)
    assert {row[3].text for row in folded.rows} == {"not decidable"}
    assert "not decidable" not in {row[3].text for row in shown.rows}
    intervals = ["[" in row[2].text for row in folded.rows]
    assert intervals == sorted(intervals, reverse=True), "those with data come first"
    assert 0 < sum(intervals) < len(intervals)
    assert len(folded.rows) > len(shown.rows) > 0


def test_statements_on_losses_need_no_task(
    sweep: Sweep, fill: Callable[..., dict[str, Record]]
) -> None:
    bare = sweep.model_copy(update={"tasks": {}})
    plan = expand(bare)
    context = Context(gather(bare, plan, fill(plan), {}))
    tested = {claim.statement for claim, _, finding in context.evaluated if finding.tested}
    assert "KD training lowers the MLM loss too." in tested
    assert not any("better than IMP" in statement for statement in tested)
    assert list(statements.section(context))
