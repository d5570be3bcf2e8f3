"""What a sweep file with `tune:` asks for: one study a method of each model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tamt_ray.methods.base import Search
from tamt_ray.methods.omp import Omp
from tamt_ray.methods.trained import TrainedMethod
from tamt_ray.plan.config import config_dict
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.tuning import Domain, Tuning, Value, tunable
from tamt_ray.spec.tuning import with_values as _with_values
from tamt_ray.values.identity import identity

VERSION = 2
"""Grows with every change to what a trial computes, so that no study mixes the two."""

State = Literal["finished", "stopped", "diverged", "failed"]
"""How a trial ended: at the last rung, at an earlier one, by a loss that is no number, or by an
error."""


@dataclass(frozen=True)
class Rung:
    """One evaluation of a trial's mask."""

    steps: int
    losses: Mapping[str, float]
    """`mlm_loss` (nats a predicted token) and `kd_loss` (Eq. 6) on the validation blocks."""
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Trial:
    """A trial that has ended."""

    number: int
    """Counts from 0 in the order they were drawn."""
    state: State
    values: Mapping[str, Value]
    rungs: tuple[Rung, ...]
    started: float
    ended: float
    """Seconds since the epoch."""
    error: str = ""


def folder_of(sweep: str) -> str:
    """Where a store keeps the trials of a sweep of that name."""
    return f"tuning/{sweep}"


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
        """What people call it: model/method."""
        return f"{self.model}/{self.method.name}"

    @property
    def spans(self) -> Mapping[str, Domain]:
        """Where each tuned setting is looked for."""
        return self.tuning.methods[self.method.name]

    @property
    def losses(self) -> tuple[str, ...]:
        """Which losses are summed to the objective."""
        return self.tuning.losses(self.method)

    @property
    def own_values(self) -> dict[str, Value]:
        """The sweep's own values of the tuned settings: what the first trial has."""
        own = tunable(self.method, self.sweep.search)
        return {key: own[key] for key in self.spans}

    @cached_property
    def id(self) -> str:
        """64 hex digits over everything but the values that decides a trial's result.

        The number of trials and the share that goes on are left out, so that a study can be
        prolonged; so are the sweep's own values, which may be those found by this study.
        """
        any_values = {key: span.first for key, span in self.spans.items()}
        searches = self.searches(any_values, self.tuning.rungs[-1])
        return identity(
            {
                "version": VERSION,
                "searches": [config_dict(config) for config in searches],
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
        """What a study makes small."""
        return sum(losses[name] for name in self.losses)

    def searches(self, values: Mapping[str, Value], steps: int) -> tuple[Search, ...]:
        """Return the searches behind the mask of a trial after `steps` steps, in their order.

        One for TAMT. For IMP the levels of a chain that shares the steps out, so that methods are
        compared at equal cost; chains of other lengths have nothing in common.
        """
        method, search = _with_values(self.method, self.sweep.search, values)
        method = method.trial(steps, self.tuning.sparsity)
        plan = expand(self._alone().model_copy(update={"methods": (method,), "search": search}))
        configs = (unit.config for unit in plan.units.values())
        return tuple(config for config in configs if isinstance(config, Search))

    def ground(self) -> Plan:
        """The units a study stands on: the MLM head where one is trained, OMP at the sparsity, and
        the losses of OMP and of the dense model. Every sweep shares them."""
        return expand(self._alone().model_copy(update={"methods": (Omp(name="omp"),)}))

    def _alone(self) -> Sweep:
        """The sweep cut down to this model, one sparsity and one seed, without tasks."""
        cut = {
            "models": {self.model: self.sweep.models[self.model]},
            "sparsities": (self.tuning.sparsity,),
            "mask_seeds": (self.tuning.seed,),
            "tasks": {},
            "tune": None,
        }
        return self.sweep.model_copy(update=cut)


@dataclass(frozen=True)
class Outcome:
    """What a study has found so far."""

    study: Study
    trials: tuple[Trial, ...]
    omp: Mapping[str, float]
    """The losses of OMP at the same sparsity; empty while they are not known."""

    def best(self) -> Trial | None:
        """The finished trial with the smallest objective; stopped ones saw fewer steps."""
        finished = [trial for trial in self.trials if trial.state == "finished"]
        return min(finished, key=self.objective, default=None)

    def own(self) -> Trial | None:
        """The trial with the sweep's own values, if it is finished."""
        own = self.study.own_values
        finished = [t for t in self.trials if t.state == "finished" and t.values == own]
        return finished[0] if finished else None

    def objective(self, trial: Trial) -> float:
        """The objective where the trial was seen last."""
        return self.study.objective(trial.rungs[-1].losses)


def studies(sweep: Sweep) -> tuple[Study, ...]:
    """Every study of the sweep, model by model."""
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
    """Optimiser steps of the study if no trial were stopped early."""
    rungs = study.tuning.rungs
    return study.tuning.trials * (sum(rungs) if study.method.starts_anew else rungs[-1])
