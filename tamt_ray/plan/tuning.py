"""The state of a tuning: its trials, their results, and every unit proposed so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal, Protocol

from tamt_ray.methods.omp import Omp
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.study import Proposal, Study, TrialUnits, own_proposal, studies
from tamt_ray.plan.unit import KINDS, Cell, Kind, PretrainEvalConfig, Unit
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.tuning import Value

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
class Outcome:
    """The results of one study so far."""

    study: Study
    trials: tuple[Trial, ...]
    omp: Mapping[str, float]
    """The losses of OMP at the same sparsity; empty while they are not known."""
    blocked: bool = False
    """True where a unit failed that every trial needs."""

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
        """Return whether nothing is left to run or to propose."""
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
