"""Section on missing and failed units."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from tamt_ray.analysis.report.blocks import Block, Fold, Paragraph, ReportTable
from tamt_ray.analysis.report.context import Context
from tamt_ray.analysis.words import duration
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


def section(context: Context) -> Iterator[Block]:
    """Yield counts by kind of unit, and the failures by cause."""
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
    if done == units:
        yield Paragraph(f"Complete: all {units:,} units have a result.")
    else:
        yield Paragraph(
            f"Incomplete: {done:,} of {units:,} units have a result. What is missing is shown as "
            "missing above and is part of no average.",
            "warn",
        )
    counts = ("done", "failed", "blocked", "missing")
    yield ReportTable(
        ["", "planned", "done", "failed", "held up by a failure", "not run yet", "time of work"],
        [
            [_NAMES[kind], *(f"{n:,}" for n in (state.total(), *map(state.__getitem__, counts))),
             duration(seconds[kind])]
            for kind, state in states.items()
            if state
        ],
    )  # fmt: skip
    yield from _failures(data.failures)


def _blocked(plan: Plan, failures: Mapping[str, Failure]) -> set[str]:
    """Units that need a failed one; what is needed comes first in a plan."""
    held = set(failures)
    for unit_id, unit in plan.units.items():
        if any(need in held for need in unit.needs):
            held.add(unit_id)
    return held - set(failures)


def _failures(failures: Mapping[str, Failure]) -> Iterator[Block]:
    causes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for failure in failures.values():
        causes[failure.error, failure.message].append(f"{failure.kind} {failure.cell}")
    rows = [
        [error, message, str(len(names)), "; ".join(sorted(names)[:8]) + (" …" * (len(names) > 8))]
        for (error, message), names in sorted(causes.items())
    ]
    title = f"Why units failed ({len(failures)})"
    table = ReportTable(["error", "message", "units", "which"], rows, title=title, words=True)
    if rows:
        yield table if len(rows) <= _MANY else Fold(title, [table])
