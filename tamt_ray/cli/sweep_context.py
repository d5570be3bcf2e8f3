"""A sweep file opened for a verb: its plan, its store and what is there already."""

import json
import shlex
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from tamt_ray.cli.speech import UsageError, warn
from tamt_ray.plan.cost import Prices, Timing, prices, usual_prices
from tamt_ray.plan.expand import Plan, PlanError, expand
from tamt_ray.plan.status import Decision, decide, only
from tamt_ray.plan.tuning import DIVERGED, Survey, TuningPlan, trial_sweep
from tamt_ray.plan.unit import Unit, parse_config
from tamt_ray.spec.load import SpecError, load_sweep
from tamt_ray.spec.sweep import Sweep, refused
from tamt_ray.store.damage import Damage, outdated
from tamt_ray.store.lease import Lease
from tamt_ray.store.proposals import read_proposals
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import UnwritableError

Say = Callable[[str], None]
SETTLED = "settled.json"
"""File beside the report: settings that the rows of data sets decided."""


@dataclass(frozen=True)
class SweepContext:
    """Everything a verb reads."""

    file: Path
    sweep: Sweep
    plan: Plan
    store: Store
    records: dict[str, Record]
    failures: dict[str, Failure]
    damaged: tuple[Damage, ...] = ()
    """Files that the next run sets aside; it computes their units again."""
    of: "SweepContext | None" = None
    """The whole sweep, if this is the part of it that `--only` chose."""
    retry_failed: bool = False
    """Count failed units as never tried."""
    others: tuple[str, ...] = ()
    """Records of units that are not in the plan, by their path in the store."""
    overrides: tuple[str, ...] = ()
    """`KEY=VALUE` of each `--set`; they are part of the sweep."""

    survey: Survey | None = None
    """The trials so far, in a sweep with `tune:`; `plan` has what was proposed of them."""
    diverged: dict[str, Failure] = field(default_factory=dict)
    """Failures that are outcomes of trials; their units are not in the plan."""

    @property
    def words(self) -> str:
        """The file and its `--set` options, for a command to type."""
        return words_of(self.file, self.overrides)

    def prices(self, usual: Prices | None = None) -> Prices:
        """Prices by what was measured; `usual` where nothing was, by default this machine's."""
        timings: dict[str, Timing] = dict(self.whole.records)
        units = dict(self.whole.plan.units)
        for record in self.store.others(self.others):
            try:
                units[record.id] = Unit(parse_config(record.config), id=record.id)
            except (ValidationError, KeyError):
                # It was computed by a method that is not installed here, or by another version.
                continue
            timings[record.id] = record
        return prices(units, timings, usual or usual_prices(self.sweep.execution))

    @property
    def grid(self) -> Sweep:
        """The sweep that the plan is the grid of."""
        return trial_sweep(self.sweep, self.survey) if self.survey else self.sweep

    @property
    def to_draw(self) -> int:
        """Trials of a tuning that a run would draw."""
        return self.survey.to_propose if self.survey else 0

    @property
    def to_run(self) -> list[str]:
        """Units that a run would compute, those of trials to be drawn not among them."""
        decisions = decide(self.plan, self.records, self.failures)
        return [i for i, d in decisions.items() if d in {Decision.RUN, Decision.WAIT}]

    @property
    def missing(self) -> int:
        """The number of units that a run would compute."""
        return len(self.to_run)

    def again(self, store: Store) -> "SweepContext":
        """Return the same as `store` has it now; what was read before is not read again."""
        if self.sweep.tune:
            return self._tuning_again(store)
        found = store.scan(self.plan.units, self.records)
        failures = {} if self.retry_failed else found.failures
        return replace(
            self, store=store, records=found.records, failures=failures, damaged=found.damaged,
            others=found.others,
        )  # fmt: skip

    def _tuning_again(self, store: Store) -> "SweepContext":
        tuning = TuningPlan(self.sweep)
        proposals = {
            study.id: read_proposals(store, self.sweep.name, study) for study in tuning.studies
        }
        found = store.scan(tuning.possible(proposals), self.records)
        failures = {
            i: f for i, f in found.failures.items() if f.error == DIVERGED or not self.retry_failed
        }
        survey = tuning.survey(proposals, found.records, failures)
        diverged = {i: f for i, f in failures.items() if i not in survey.plan.units}
        return replace(
            self, store=store, survey=survey, records=found.records, failures=failures,
            diverged=diverged, damaged=found.damaged,
        )._within(survey.plan)  # fmt: skip

    def only(self, pattern: str) -> "SweepContext":
        """Return the part whose paths match a glob. Raises SpecError where none does."""
        plan = only(self.plan, pattern)
        if not plan.units:
            raise SpecError(
                f"{self.file}: no unit's path matches {pattern!r}; "
                "paths are kind/model/method/sparsity/…, as in 'finetune/*/omp/*'"
            )
        return replace(self._within(plan), of=self)

    def _within(self, plan: Plan) -> "SweepContext":
        units = plan.units
        return replace(
            self, plan=plan,
            records={i: record for i, record in self.records.items() if i in units},
            failures={i: failure for i, failure in self.failures.items() if i in units},
            damaged=tuple(damage for damage in self.damaged if damage.id in units),
        )  # fmt: skip

    @property
    def whole(self) -> "SweepContext":
        """The whole sweep, with what this part of it holds by now. Nothing is read."""
        if self.of is None:
            return self
        before, mine = self.of, self.plan.units
        records = {i: r for i, r in before.records.items() if i not in mine} | self.records
        failures = {i: f for i, f in before.failures.items() if i not in mine} | self.failures
        for damage in outdated(before.plan.units, records):
            del records[damage.id]
        return replace(before, store=self.store, records=records, failures=failures)


def words_of(file: Path, overrides: Sequence[str] | None) -> str:
    """Return a sweep file and its `--set` options, for a command to type."""
    options = (word for each in overrides or () for word in ("--set", each))
    return shlex.join([str(file), *options])


def open_sweep(
    file: Path,
    pattern: str | None = None,
    *,
    retry_failed: bool = False,
    overrides: Sequence[str] | None = None,
) -> SweepContext:
    """Read the sweep and what its store holds; `overrides` are those of `--set`.

    Raises SpecError or StoreError with a message for the user.
    """
    for plugin in refused():
        warn(str(plugin))
    overrides = tuple(overrides or ())
    sweep = load_sweep(file, overrides)
    if sweep.tune and pattern:
        raise SpecError(f"{file}: a tuning draws its own units; leave --only out")
    store = Store(sweep.store)
    sweep = settle(sweep, store)
    try:
        plan = Plan({}, {}) if sweep.tune else expand(sweep)
    except PlanError as error:
        raise SpecError(f"{file}: {error}") from error
    opened = SweepContext(file, sweep, plan, store, {}, {}, overrides=overrides).again(store)
    if pattern:
        opened = opened.only(pattern)
    return replace(opened, failures={}, retry_failed=True) if retry_failed else opened


def settle(sweep: Sweep, store: Store) -> Sweep:
    """Return the sweep with the settings that its data decide, as the store or data at hand have
    them."""
    if not any(task.left_open for task in sweep.tasks.values()):
        return sweep
    from tamt_ray.execution.rows import settled

    known: dict[str, object] = {}
    for name in (*(part.name for part in sweep.parts), sweep.name):
        known |= settled_in(store, name)
    return settled(sweep, known)


def settled_in(store: Store, name: str) -> dict[str, object]:
    """Return what the store knows of a sweep's settings that rows decided, by task's digest."""
    try:
        found = json.loads(store.files.read(f"reports/{name}/{SETTLED}"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def held(opened: SweepContext, say: Say) -> Generator[tuple[SweepContext, Lease]]:
    """Yield the sweep under this process's lease, read anew, with damaged results set aside.

    Raises HeldError where another driver runs it; UsageError where there can be no lease, so that
    nothing begins; UnwritableError.
    """
    try:
        lease = Lease.acquire(opened.store.files, opened.sweep.name, watching=say)
    except UnwritableError as error:
        raise UsageError(str(error)) from error
    with lease:
        opened = opened.again(Store(opened.sweep.store, lease.fence))
        put_aside(opened, opened.damaged, say)
        yield _sound(opened, say), lease


def put_aside(opened: SweepContext, damaged: tuple[Damage, ...] | list[Damage], say: Say) -> None:
    """Move what is damaged to the quarantine, and say so."""
    for damage in damaged:
        where = opened.store.set_aside(damage)
        say(f"damaged: {opened.plan.units[damage.id]}: {damage}; it is kept in {where}")


def _sound(opened: SweepContext, say: Say) -> SweepContext:
    """Return the sweep without results whose files another unit has to read and cannot: damaged
    ones, and published ones that came without files.

    Such a unit needs its own parents, which are then looked at in turn.
    """
    records, checked = dict(opened.records), set[str]()
    while True:
        needed = {
            parent
            for unit_id in replace(opened, records=records).to_run
            for parent in opened.plan.units[unit_id].parents
            if parent in records and parent not in checked
        }
        if not needed:
            return replace(opened, records=records)
        checked |= needed
        damaged = opened.store.verify(records[unit_id] for unit_id in needed)
        put_aside(opened, damaged, say)
        for unit_id in [damage.id for damage in damaged] + [u for u in needed if records[u].bare]:
            records.pop(unit_id, None)
