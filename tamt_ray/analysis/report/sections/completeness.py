"""How complete the sweep is, and why units failed."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from tamt_ray.analysis.report.blocks import Block, Fold, Paragraph, ReportTable, Section, TableRow
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.report.words import duration
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import KINDS, Kind
from tamt_ray.store.record import Failure

_NAMES: dict[Kind, str] = {
    "head": "MLM heads",
    "search": "searches for a mask",
    "pretrain_eval": "pre-training evaluations",
    "finetune": "fine-tunes",
}
_MANY = 5


def section(context: Context) -> Section:
    """Return counts by kind of unit, and the failures by cause."""
    data = context.data
    states: dict[Kind, Counter[str]] = {kind: Counter[str]() for kind in KINDS}
    seconds = dict.fromkeys(KINDS, 0.0)
    blocked = _blocked(data.plan, data.failures)
    for unit_id, unit in data.plan.units.items():
        if record := data.records.get(unit_id):
            states[unit.kind]["done"] += 1
            seconds[unit.kind] += record.seconds
        elif unit_id in data.failures:
            states[unit.kind]["failed"] += 1
        else:
            states[unit.kind]["blocked" if unit_id in blocked else "missing"] += 1
    done, units = sum(state["done"] for state in states.values()), len(data.plan.units)
    verdict = (
        Paragraph(f"Complete: all {units:,} units have a result.")
        if done == units
        else Paragraph(
            f"Incomplete: {done:,} of {units:,} units have a result. What is missing is shown as "
            "missing above and is part of no average.",
            "warn",
        )
    )
    rows: list[TableRow] = [
        [
            _NAMES[kind],
            f"{sum(state.values()):,}",
            *(f"{state[name]:,}" for name in ("done", "failed", "blocked", "missing")),
            duration(seconds[kind]),
        ]
        for kind, state in states.items()
        if state
    ]
    head = ["", "planned", "done", "failed", "held up by a failure", "not run yet", "time of work"]
    return Section("Completeness", [verdict, ReportTable(head, rows), *_failures(data.failures)])


def _blocked(plan: Plan, failures: Mapping[str, Failure]) -> set[str]:
    """Units that need a failed one; what is needed comes first in a plan."""
    held = set(failures)
    for unit_id, unit in plan.units.items():
        if any(need in held for need in unit.needs):
            held.add(unit_id)
    return held - set(failures)


def _failures(failures: Mapping[str, Failure]) -> list[Block]:
    causes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for failure in failures.values():
        causes[failure.error, failure.message].append(f"{failure.kind} {failure.cell}")
    rows: list[TableRow] = [
        [error, message, str(len(names)), "; ".join(sorted(names)[:8]) + (" …" * (len(names) > 8))]
        for (error, message), names in sorted(causes.items())
    ]
    if not rows:
        return []
    title = f"Why units failed ({len(failures)})"
    table = ReportTable(["error", "message", "units", "which"], rows, title=title, words=True)
    return [table] if len(rows) <= _MANY else [Fold(title, [table])]
