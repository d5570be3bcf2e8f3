"""Bringing MLflow to what the store holds, once and for a command that waits."""

from collections.abc import Mapping

from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.tracking.summary import Summary, SyncReport
from tamt_ray.tracking.tracker import Tracker


def sync(
    sweep: Sweep,
    plan: Plan,
    store: Store,
    records: Mapping[str, Record],
    summary: Summary | None = None,
) -> SyncReport:
    """Write what MLflow lacks of the plan: `records` by unit id, failures, and the summary run.

    Raises TrackingError if MLflow cannot be reached.
    """
    tracker = Tracker(sweep, plan, store)
    failures = store.failures(plan.units)
    if summary:
        tracker.report(summary)
    tracker.start(records, {i: each for i, each in failures.items() if i not in records})
    return tracker.finish()
