"""The decision per unit: skip, run, wait or set aside."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase

from tamt_ray.plan.cost import ROUGH, Prices
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import KINDS, Kind, Search, Unit


class Decision(Enum):
    """The decision on one unit; its value is the reason that people read."""

    SKIP = "its record is in the store"
    RUN = "no record yet; everything it needs is there"
    WAIT = "no record yet; runs after what it needs"
    SET_ASIDE = "failed before; --retry-failed tries again"
    BLOCKED = "needs a unit that failed"


def decide(plan: Plan, done: Collection[str], failed: Collection[str]) -> dict[str, Decision]:
    """Return a decision for every unit, in plan order."""
    decisions: dict[str, Decision] = {}
    for unit in plan.units.values():
        needs = {decisions[need] for need in unit.needs}
        if unit.id in done:
            decisions[unit.id] = Decision.SKIP
        elif unit.id in failed:
            decisions[unit.id] = Decision.SET_ASIDE
        elif needs & {Decision.SET_ASIDE, Decision.BLOCKED}:
            decisions[unit.id] = Decision.BLOCKED
        else:
            ready = needs <= {Decision.SKIP}
            decisions[unit.id] = Decision.RUN if ready else Decision.WAIT
    return decisions


@dataclass(frozen=True)
class KindStatus:
    """Counts of one kind; `to_run` includes what waits for parents."""

    total: int
    done: int
    to_run: int
    waiting: int
    failed: int
    blocked: int
    gpu_hours: float
    """Estimate for the units to run, on one device."""


def tally(
    plan: Plan, decisions: Mapping[str, Decision], prices: Prices = ROUGH
) -> dict[Kind, KindStatus]:
    """Counts for each kind."""
    counts: dict[Kind, Counter[Decision]] = {kind: Counter() for kind in KINDS}
    hours = dict.fromkeys(KINDS, 0.0)
    for unit in plan.units.values():
        decision = decisions[unit.id]
        counts[unit.kind][decision] += 1
        if decision in {Decision.RUN, Decision.WAIT}:
            hours[unit.kind] += prices.seconds(unit) / 3600
    return {
        kind: KindStatus(
            total=sum(count.values()),
            done=count[Decision.SKIP],
            to_run=count[Decision.RUN] + count[Decision.WAIT],
            waiting=count[Decision.WAIT],
            failed=count[Decision.SET_ASIDE],
            blocked=count[Decision.BLOCKED],
            gpu_hours=hours[kind],
        )
        for kind, count in counts.items()
    }


@dataclass
class MethodCost:
    """Units of one method that are left to run."""

    to_run: int = 0
    steps: set[int] = field(default_factory=set)
    """Optimiser steps of its searches, of each that trains."""
    search_seconds: float = 0.0
    seconds: float = 0.0
    """Time of searches, evaluations and fine-tunes on one device."""


def method_costs(
    plan: Plan, decisions: Mapping[str, Decision], prices: Prices
) -> dict[str, MethodCost]:
    """Return the costs of methods that have units to run, by name, the dearest first."""
    costs: dict[str, MethodCost] = {}
    for unit in plan.units.values():
        if decisions[unit.id] not in {Decision.RUN, Decision.WAIT}:
            continue
        cost, seconds = costs.setdefault(unit.cell.method, MethodCost()), prices.seconds(unit)
        cost.to_run += 1
        cost.seconds += seconds
        if isinstance(unit.config, Search):
            cost.search_seconds += seconds
            cost.steps |= {unit.config.own_steps} - {0}
    return dict(sorted(costs.items(), key=lambda each: -each[1].seconds))


def longest_chain(plan: Plan, decisions: Mapping[str, Decision], prices: Prices = ROUGH) -> float:
    """Return the hours of the longest chain of units to run, each on one device: more devices than
    there are chains do not shorten it."""
    ends: dict[str, float] = {}
    for unit in plan.units.values():
        runs = decisions[unit.id] in {Decision.RUN, Decision.WAIT}
        hours = prices.seconds(unit) / 3600 if runs else 0.0
        ends[unit.id] = max((ends[need] for need in unit.needs), default=0.0) + hours
    return max(ends.values(), default=0.0)


def unit_path(unit: Unit) -> str:
    """`kind/model/method/sparsity/…`, what `--only` matches."""
    return "/".join([unit.kind, *map(str, unit.cell.given.values())])


def only(plan: Plan, pattern: str) -> Plan:
    """Return the units whose paths match a glob, and everything they need."""
    return plan.part({i for i, unit in plan.units.items() if fnmatchcase(unit_path(unit), pattern)})
