"""The next trials of a tuning: values drawn by TPE (Optuna), promotions by ASHA."""

import warnings
from collections.abc import Mapping

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from tamt_ray.data.seeds import derive
from tamt_ray.plan.study import Proposal, Study, own_proposal
from tamt_ray.plan.tuning import Outcome, Problem, Result, Survey, Trial, TuningPlan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.tuning import Domain, Value
from tamt_ray.store.proposals import keep_proposal, read_proposals
from tamt_ray.store.store import Store

_TRIES = 10
"""Draws of values that no trial has yet, before one that repeats is taken."""


class Proposer:
    """Proposes units; the proposals and the records in the store are all that it knows."""

    def __init__(self, sweep: Sweep, store: Store, diverged: Mapping[str, Problem]) -> None:
        """`diverged`: failures of earlier runs that are outcomes. Raises StoreError."""
        self._diverged = diverged
        self._name, self._store = sweep.name, store
        self._plan = TuningPlan(sweep)
        self._proposals = {
            study.id: list(read_proposals(store, sweep.name, study)) for study in self._plan.studies
        }

    def propose(
        self, results: Mapping[str, Result], problems: Mapping[str, Problem], width: int
    ) -> Survey:
        """Propose until `width` trials have units to run, or none can be proposed now.

        Promotions come first and do not wait for room. Then the study with the fewest trials at
        work draws one. Each proposal is kept in the store before this returns. Raises
        UnwritableError or LeaseLostError.
        """
        problems = {**self._diverged, **problems}
        for study in self._plan.studies:
            if not self._proposals[study.id]:
                self._keep(study, own_proposal(study))
        survey = self._plan.survey(self._proposals, results, problems)
        for outcome in survey.outcomes:
            for promotion in outcome.promotions():
                self._keep(outcome.study, promotion)
        while True:
            survey = self._plan.survey(self._proposals, results, problems)
            open_to_draws = [o for o in survey.outcomes if o.to_propose]
            if survey.running >= width or not open_to_draws:
                return survey
            outcome = min(open_to_draws, key=lambda o: (len(o.state("running")), len(o.trials)))
            self._keep(outcome.study, _next(outcome))

    def _keep(self, study: Study, proposal: Proposal) -> None:
        keep_proposal(self._store, self._name, study, proposal)
        self._proposals[study.id].append(proposal)


def _next(outcome: Outcome) -> Proposal:
    study = outcome.study
    number = 1 + max((trial.number for trial in outcome.trials), default=-1)
    if all(trial.values != study.own_values for trial in outcome.trials):
        return own_proposal(study).model_copy(update={"trial": number})
    values = draw(outcome, number)
    return Proposal(trial=number, rung=0, values=values)


def draw(outcome: Outcome, number: int) -> dict[str, Value]:
    """Return values for a trial of that number, by TPE over the results so far.

    A function of the study, the number and the results: trials enter in the order of their
    numbers, whichever ended first; those without any result do not.
    """
    own = outcome.study.own_values
    space = {key: _distribution(span, own[key]) for key, span in outcome.study.spans.items()}
    known = [
        _known(outcome, trial, space)
        for trial in outcome.trials
        if trial.rungs or trial.state == "diverged"
    ]
    taken = [trial.values for trial in outcome.trials]
    values: dict[str, Value] = {}
    for attempt in range(_TRIES):
        seed = derive(outcome.study.tuning.seed, outcome.study.id, number, attempt) % 2**32
        values = dict(_asked(known, space, seed))
        if values not in taken:
            break
    return values


def _asked(
    known: list[FrozenTrial], space: Mapping[str, BaseDistribution], seed: int
) -> Mapping[str, Value]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    study.add_trials(known)
    return study.ask(fixed_distributions=dict(space)).params


def _known(outcome: Outcome, trial: Trial, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """Return a trial as Optuna has it: one that was not trained to the end counts as pruned, behind
    those that were; one that diverged, without any value, behind all."""
    objectives = {rung.steps: outcome.study.objective(rung.losses) for rung in trial.rungs}
    finished = trial.state == "finished"
    return create_trial(
        state=TrialState.COMPLETE if finished else TrialState.PRUNED,
        value=outcome.objective(trial) if finished else None,
        params=dict(trial.values),
        distributions=dict(space),
        intermediate_values={} if trial.state == "diverged" else objectives,
    )


def _distribution(span: Domain, own: Value) -> BaseDistribution:
    if span.choice is not None:
        return CategoricalDistribution(span.choice)
    assert span.ends is not None
    low, high = span.ends
    log = span.log is not None
    if isinstance(own, int):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)
