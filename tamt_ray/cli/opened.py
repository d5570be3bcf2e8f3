"""A sweep file opened for a verb: its plan, its store and what is there already."""

from dataclasses import dataclass
from pathlib import Path

from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.status import only
from tamt_ray.spec.load import SpecError, load_sweep
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
    part: bool = False
    """Whether the plan is only the part of the sweep that was asked for."""


def open_sweep(file: Path, pattern: str | None = None) -> Opened:
    """Raises SpecError or StoreError with a message for the user."""
    sweep = load_sweep(file)
    plan = expand(sweep)
    if pattern:
        plan = only(plan, pattern)
        if not plan.units:
            raise SpecError(
                f"{file}: no unit's path matches {pattern!r}; "
                "paths are kind/model/method/sparsity/…, as in 'finetune/*/omp/*'"
            )
    store = Store(sweep.store)
    records = store.done(plan.units)
    failures = store.failures(plan.units)
    # A worker that died between its record and its old failure has finished all the same.
    unfinished = {
        unit_id: failure for unit_id, failure in failures.items() if unit_id not in records
    }
    return Opened(file, sweep, plan, store, records, unfinished, part=pattern is not None)
