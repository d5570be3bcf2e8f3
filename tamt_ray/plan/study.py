"""A study of a sweep with `tune:`, one per method and model, and the units of its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tamt_ray.methods.base import Method
from tamt_ray.methods.omp import Omp
from tamt_ray.methods.trained import TrainedMethod
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Cell, Kind
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.tuning import Domain, Tuning, Value, tunable, with_values
from tamt_ray.values.base import Frozen
from tamt_ray.values.identity import identity, written

_VERSION = 3
"""Grows with every change to what a trial computes, so that no study mixes the two."""


class Proposal(Frozen):
    """The decision that a trial trains up to a rung; kept in the store before its units start."""

    trial: int
    """Counts from 0."""
    rung: int
    """Index into the rungs."""
    values: dict[str, Value]


@dataclass(frozen=True)
class TrialUnits:
    """The units of one trial, the evaluation at each rung among them."""

    plan: Plan
    ends: tuple[str, ...]
    """The evaluation at each rung."""

    def up_to(self, rung: int) -> Plan:
        """Return the part that a trial needs to be evaluated at a rung and at those below."""
        return self.plan.part(self.ends[: rung + 1])


@dataclass(frozen=True)
class Study:
    """One method of one model whose settings are looked for."""

    sweep: Sweep
    model: str
    method: TrainedMethod

    @property
    def tuning(self) -> Tuning:
        """The sweep's `tune:`."""
        assert self.sweep.tune is not None
        return self.sweep.tune

    @property
    def path(self) -> str:
        """Its name for people: model/method."""
        return f"{self.model}/{self.method.name}"

    @property
    def spans(self) -> Mapping[str, Domain]:
        """The domain of each tuned setting."""
        return self.tuning.methods[self.method.name]

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses whose sum is the objective."""
        return self.tuning.losses(self.method)

    @property
    def own_values(self) -> dict[str, Value]:
        """The sweep's own values of the tuned settings: those of the first trial."""
        own = tunable(self.method, self.sweep.search)
        return {key: own[key] for key in self.spans}

    @property
    def last(self) -> int:
        """Index of the last rung."""
        return len(self.tuning.rungs) - 1

    @cached_property
    def id(self) -> str:
        """64 hex digits over everything but the values that decides a trial's result.

        The number of trials and the share that goes on are left out, so that a study can be
        prolonged; so are the sweep's own values, which may be those found by this study.
        """
        any_values = {key: span.first for key, span in self.spans.items()}
        units = self.units(0, any_values).plan.units.values()
        return identity(
            {
                "version": _VERSION,
                "units": [written(unit.config) for unit in units if unit.kind == "search"],
                "rungs": list(self.tuning.rungs),
                "spans": {
                    key: span.model_dump(mode="json", exclude_none=True)
                    for key, span in self.spans.items()
                },
                "losses": list(self.losses),
                "evaluation": self.sweep.pretrain_eval.model_dump(mode="json"),
            }
        )

    def objective(self, losses: Mapping[str, float]) -> float:
        """Return the number that the study minimises."""
        return sum(losses[name] for name in self.losses)

    def entry(
        self, number: int, values: Mapping[str, Value], rung: int | None = None
    ) -> TrainedMethod:
        """Return the entry of `methods` that a trial stands for: trained to the last rung, or to
        another one."""
        method, _ = with_values(self.method, self.sweep.search, values)
        name = f"{self.method.name}-{number}"
        if rung is not None and rung < self.last:
            name += f"-{rung}"
        steps = self.tuning.rungs[self.last if rung is None else rung]
        return method.trial(steps, self.tuning.sparsity).model_copy(update={"name": name})

    def units(self, number: int, values: Mapping[str, Value]) -> TrialUnits:
        """Return the units of a trial: those of a sweep over this method with these values.

        For TAMT one training, saved at each rung. For IMP a chain of levels per rung that shares
        the steps out, so that methods are compared at equal cost; chains of different lengths have
        nothing in common.
        """
        _, search = with_values(self.method, self.sweep.search, values)
        entries = [self.entry(number, values, rung) for rung in range(self.last + 1)]
        plan = _expanded(
            [self._alone(entry).model_copy(update={"search": search}) for entry in entries],
            self.sweep,
        )
        ends = {cell.method: end for cell, end in plan.cells["pretrain_eval"].items()}
        on_the_way = {
            entry.name: {"method": entries[-1].name, "checkpoint": steps}
            for entry, steps in zip(entries[:-1], self.tuning.rungs, strict=False)
        }
        return TrialUnits(_renamed(plan, on_the_way), tuple(ends[entry.name] for entry in entries))

    def ground(self) -> Plan:
        """Return the units that trials are compared with: OMP at the sparsity and the losses of OMP
        and of the dense model, with the MLM head where one is trained. Every sweep shares them."""
        return _expanded([self._alone(Omp(name="omp"))], self.sweep)

    def _alone(self, method: Method) -> Sweep:
        """Return the sweep cut down to this model, a method, one sparsity and one seed."""
        cut = {
            "models": {self.model: self.sweep.models[self.model]},
            "methods": (method,),
            "sparsities": (self.tuning.sparsity,),
            "mask_seeds": (self.tuning.seed,),
            "tasks": {},
            "tune": None,
        }
        return self.sweep.model_copy(update=cut)


def studies(sweep: Sweep) -> tuple[Study, ...]:
    """Return every study of the sweep, model by model."""
    assert sweep.tune is not None
    methods = {method.name: method for method in sweep.methods}
    found: list[Study] = []
    for model in sweep.models:
        for name in sweep.tune.methods:
            method = methods[name]
            assert isinstance(method, TrainedMethod), "the spec refuses others"
            found.append(Study(sweep, model, method))
    return tuple(found)


def steps_at_most(study: Study) -> int:
    """Return the optimiser steps of the study if no trial were stopped early."""
    rungs = study.tuning.rungs
    return study.tuning.trials * (sum(rungs) if study.method.starts_anew else rungs[-1])


def own_proposal(study: Study) -> Proposal:
    """Return the first trial: the sweep's own values, trained to the end."""
    return Proposal(trial=0, rung=study.last, values=study.own_values)


def _expanded(parts: Sequence[Sweep], whole: Sweep) -> Plan:
    """Return the plan of some parts, measured on the loss terms of the whole sweep, all in gangs: a
    worker that has trained a mask evaluates it too, and no place changes hands."""
    plan = expand(whole.model_copy(update={"parts": tuple(parts)}))
    units = {unit.id: replace(unit, runs_in="gang") for unit in plan.units.values()}
    return Plan(units, plan.cells)


def _renamed(plan: Plan, changes: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Return the plan with other coordinates for the cells of some methods."""

    def renamed(cell: Cell) -> Cell:
        return replace(cell, **changes.get(cell.method, {}))

    units = {unit.id: replace(unit, cell=renamed(unit.cell)) for unit in plan.units.values()}
    cells: dict[Kind, dict[Cell, str]] = {
        kind: {renamed(cell): unit_id for cell, unit_id in each.items()}
        for kind, each in plan.cells.items()
    }
    return Plan(units, cells)
