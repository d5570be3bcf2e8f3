"""A sweep with `tune:` as units: one study per method and model, its trials ordinary searches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Any, Literal, Protocol

from tamt_ray.methods.base import Method
from tamt_ray.methods.omp import Omp
from tamt_ray.methods.trained import TrainedMethod
from tamt_ray.plan.cell import Cell
from tamt_ray.plan.config import KINDS, Kind, PretrainEvalConfig, config_dict
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.tuning import Domain, Tuning, Value, tunable
from tamt_ray.spec.tuning import with_values as _with_values
from tamt_ray.values.base import Frozen
from tamt_ray.values.identity import identity

VERSION = 3
"""Grows with every change to what a trial computes, so that no study mixes the two."""
DIVERGED = "NonFiniteLossError"
"""Error of a trial whose loss is no number: an outcome of its values, not a failure."""

TrialState = Literal["running", "finished", "stopped", "diverged", "failed"]
"""`finished`: evaluated at the last rung; `stopped`: at an earlier one, and not (yet) chosen to go
on; `diverged`: by a loss that is no number; `failed`: by an error."""


class Result(Protocol):
    """The part of a record that a study reads."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Losses of an evaluation."""
        ...


class Problem(Protocol):
    """The part of a failure that a study reads."""

    @property
    def error(self) -> str:
        """Class of the error."""
        ...

    @property
    def message(self) -> str:
        """Its words."""
        ...


class Proposal(Frozen):
    """The decision that a trial trains up to a rung; kept in the store before its units start."""

    trial: int
    """Counts from 0."""
    rung: int
    """Index into the rungs."""
    values: dict[str, Value]


@dataclass(frozen=True)
class Rung:
    """One evaluation of a trial's mask."""

    steps: int
    losses: Mapping[str, float]
    """`mlm_loss` (nats per predicted token), `kd_loss` (Eq. 6), … on the validation blocks."""


@dataclass(frozen=True)
class Trial:
    """One assignment of values and its results so far."""

    number: int
    values: Mapping[str, Value]
    state: TrialState
    rungs: tuple[Rung, ...] = ()
    error: str = ""


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
                "version": VERSION,
                "units": [config_dict(unit.config) for unit in units if unit.kind == "search"],
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
        method, _ = _with_values(self.method, self.sweep.search, values)
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
        _, search = _with_values(self.method, self.sweep.search, values)
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


@dataclass(frozen=True)
class Outcome:
    """The results of one study so far."""

    study: Study
    trials: tuple[Trial, ...]
    omp: Mapping[str, float]
    """The losses of OMP at the same sparsity; empty while they are not known."""
    blocked: bool = False
    """Whether a unit failed that every trial needs."""

    @property
    def to_propose(self) -> int:
        """Trials that are still to be drawn."""
        return 0 if self.blocked else max(0, self.study.tuning.trials - len(self.trials))

    def state(self, *states: TrialState) -> list[Trial]:
        """Return the trials in one of these states."""
        return [trial for trial in self.trials if trial.state in states]

    def best(self) -> Trial | None:
        """Return the finished trial with the smallest objective; stopped ones saw fewer steps."""
        return min(self.state("finished"), key=self.objective, default=None)

    def own(self) -> Trial | None:
        """Return the trial with the sweep's own values, if it is finished."""
        own = self.study.own_values
        return next((t for t in self.state("finished") if t.values == own), None)

    def objective(self, trial: Trial) -> float:
        """Return the objective at the last rung that a trial has reached."""
        return self.study.objective(trial.rungs[-1].losses)

    def promotions(self) -> list[Proposal]:
        """Return the stopped trials that go on, by asynchronous successive halving (ASHA).

        Of the n trials evaluated at a rung, the best n / `reduction` go on, at least one. As n
        grows, a trial that was stopped may go on later. Equal objectives: the lower number.
        """
        chosen: list[Proposal] = []
        stopped = {trial.number: trial for trial in self.state("stopped")}
        for rung in range(self.study.last):
            reached = [trial for trial in self.trials if len(trial.rungs) > rung]
            count = max(1, int(len(reached) / self.study.tuning.reduction))
            losses = {t.number: self.study.objective(t.rungs[rung].losses) for t in reached}
            for trial in sorted(reached, key=lambda t: (losses[t.number], t.number))[:count]:
                if trial.number in stopped and len(trial.rungs) == rung + 1:
                    values = dict(trial.values)
                    chosen.append(Proposal(trial=trial.number, rung=rung + 1, values=values))
        return chosen


@dataclass(frozen=True)
class Survey:
    """A tuning as its proposals and the store have it."""

    outcomes: tuple[Outcome, ...]
    plan: Plan
    """Every unit that was proposed. A trial that diverged has left out what it lacks."""

    @property
    def to_propose(self) -> int:
        """Trials that are still to be drawn, over all studies."""
        return sum(outcome.to_propose for outcome in self.outcomes)

    @property
    def running(self) -> int:
        """Trials with units to run."""
        return sum(len(outcome.state("running")) for outcome in self.outcomes)

    @property
    def over(self) -> bool:
        """Whether nothing is left to run or to propose."""
        return not (self.running or self.to_propose)


class TuningPlan:
    """The units of a sweep with `tune:`, found from its proposals; a pure function with a cache."""

    def __init__(self, sweep: Sweep) -> None:
        self.studies = studies(sweep)
        self._ground = {study.path: study.ground() for study in self.studies}
        self._units: dict[tuple[str, int], TrialUnits] = {}

    def possible(self, proposals: Mapping[str, Sequence[Proposal]]) -> dict[str, Unit]:
        """Return every unit that the trials may have results of, at any rung."""
        plans = [*self._ground.values()]
        for study in self.studies:
            plans += [self._of(study, each).plan for each in _first(study, proposals)]
        return dict(merged(plans).units)

    def survey(
        self,
        proposals: Mapping[str, Sequence[Proposal]],
        results: Mapping[str, Result],
        problems: Mapping[str, Problem],
    ) -> Survey:
        """Return the state of every study; `proposals` by the id of the study.

        A study without proposals has one: its first trial, with the sweep's own values.
        """
        plans = [*self._ground.values()]
        outcomes: list[Outcome] = []
        for study in self.studies:
            heights: dict[int, int] = {}
            for each in proposals.get(study.id, ()):
                heights[each.trial] = max(each.rung, heights.get(each.trial, 0))
            trials: list[Trial] = []
            for first in _first(study, proposals):
                units = self._of(study, first)
                height = heights.get(first.trial, first.rung)
                trial = _trial(study, first, units, height, results, problems)
                trials.append(trial)
                part = units.up_to(height)
                if trial.state == "diverged":
                    part = part.part(results)
                plans.append(part)
            ground = self._ground[study.path].units
            heads = [unit.id for unit in ground.values() if unit.kind == "head"]
            blocked = any(head in problems and head not in results for head in heads)
            outcomes.append(Outcome(study, tuple(trials), _omp(ground, results), blocked))
        return Survey(tuple(outcomes), merged(plans))

    def _of(self, study: Study, proposal: Proposal) -> TrialUnits:
        key = (study.path, proposal.trial)
        if key not in self._units:
            self._units[key] = study.units(proposal.trial, proposal.values)
        return self._units[key]


def trial_sweep(sweep: Sweep, survey: Survey) -> Sweep:
    """Return the sweep whose grid the trials are: each of their masks is a method of it.

    Trials train side by side, one worker each, where the number of workers decides no result.
    """
    entries = {
        entry.name: entry
        for outcome in survey.outcomes
        for trial in outcome.trials
        for entry in [outcome.study.entry(trial.number, trial.values)]
    }
    tuning, execution = sweep.tune, sweep.execution
    assert tuning is not None
    if not sweep.deciding_workers:
        lane = execution.search.model_copy(update={"workers": 1, "gangs": "auto"})
        execution = execution.model_copy(update={"search": lane})
    grid = {
        "methods": (Omp(name="omp"), *entries.values()),
        "sparsities": (tuning.sparsity,),
        "mask_seeds": (tuning.seed,),
        "tasks": {},
        "tune": None,
        "execution": execution,
    }
    return sweep.model_copy(update=grid)


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


def merged(plans: Sequence[Plan]) -> Plan:
    """Return the units and cells of several plans, each once, in the order of the plans."""
    units: dict[str, Unit] = {}
    cells: dict[Kind, dict[Cell, str]] = {kind: {} for kind in KINDS}
    for plan in plans:
        for unit in plan.units.values():
            units.setdefault(unit.id, unit)
        for kind, each in plan.cells.items():
            cells[kind] |= each
    return Plan(units, cells)


def _first(study: Study, proposals: Mapping[str, Sequence[Proposal]]) -> list[Proposal]:
    """Return one proposal per trial, in the order of their numbers."""
    known = proposals.get(study.id, ()) or (own_proposal(study),)
    return list({each.trial: each for each in sorted(known, key=lambda p: p.trial)}.values())


def _trial(
    study: Study,
    proposal: Proposal,
    units: TrialUnits,
    height: int,
    results: Mapping[str, Result],
    problems: Mapping[str, Problem],
) -> Trial:
    steps = study.tuning.rungs
    reached = takewhile(results.__contains__, units.ends)
    rungs = tuple(
        Rung(each, _losses(results[end].metrics)) for each, end in zip(steps, reached, strict=False)
    )
    trial = Trial(proposal.trial, proposal.values, "running", rungs)
    failed = [i for i in units.up_to(height).units if i in problems and i not in results]
    if failed:
        problem = problems[failed[0]]
        diverged = all(problems[unit].error == DIVERGED for unit in failed)
        state: TrialState = "diverged" if diverged else "failed"
        return replace(trial, state=state, error=f"{problem.error}: {problem.message}")
    if len(rungs) == len(steps):
        return replace(trial, state="finished")
    return replace(trial, state="stopped") if len(rungs) > height else trial


def _losses(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.endswith("_loss")}


def _omp(ground: Mapping[str, Unit], results: Mapping[str, Result]) -> Mapping[str, float]:
    for unit in ground.values():
        if isinstance(unit.config, PretrainEvalConfig) and unit.config.mask and unit.id in results:
            return _losses(results[unit.id].metrics)
    return {}


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
