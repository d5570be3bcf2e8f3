"""A sweep file opened for a verb: its plan, its store and what is there already."""

from dataclasses import dataclass
from pathlib import Path

from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.status import only
from tamt_ray.spec.load import load_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store


@dataclass(frozen=True)
class Opened:
    """Everything a verb reads."""

    file: Path
    sweep: Sweep
    plan: Plan
    store: Store
    records: dict[str, Record]
    failures: dict[str, Failure]


def open_sweep(file: Path, pattern: str | None = None) -> Opened:
    """Raises SpecError or StoreError with a message for the user."""
    sweep = load_sweep(file)
    plan = expand(sweep)
    if pattern:
        plan = only(plan, pattern)
    store = Store(sweep.store)
    records = store.done(plan.units)
    return Opened(file, sweep, plan, store, records, store.failures(plan.units))
