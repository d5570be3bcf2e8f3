"""The trials of a study in Optuna's storage: the only truth about them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tamt_ray.data.seeds import derive
from tamt_ray.execution.tuning.journal import StoreJournal
from tamt_ray.plan.tuning import Rung, State, Study, Trial, folder_of
from tamt_ray.spec.tuning import Domain, Value
from tamt_ray.store.store import Store

_STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}
_FIXED = "fixed_params"
"""Where Optuna keeps the values of a trial that waits to be drawn."""
_VOID = "void"
"""Where we keep the numbers of trials that do not count; an ended trial itself cannot be marked."""


@dataclass(frozen=True)
class Draw:
    """A trial to run."""

    number: int
    values: Mapping[str, Value]
    own: bool
    """Whether these are the sweep's own values."""


def open_storage(store: Store, name: str) -> BaseStorage:
    """The storage of a sweep in its store: a database where that is a directory, made if need be,
    else a journal. Raises StoreError."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = folder_of(name)
    if store.files.local is None:
        return JournalStorage(StoreJournal(store, folder))
    directory = store.files.local / folder
    directory.mkdir(parents=True, exist_ok=True)
    return RDBStorage(f"sqlite:///{directory}/optuna.db")


def known_trials(storage: BaseStorage, study: Study) -> tuple[Trial, ...]:
    """The trials of a study that have ended, without making a study that is not there."""
    names = optuna.get_all_study_names(storage)
    return Trials(storage, study).ended() if _name(study) in names else ()


class Trials:
    """One study, open for reading and for more trials.

    What is drawn depends on the trials known when the study was opened, and a sampler that goes on
    does not repeat its first draws. A trial whose worker or run was lost does not count; its values
    are drawn again.
    """

    def __init__(self, storage: BaseStorage, study: Study) -> None:
        self._study = study
        self._optuna = optuna.create_study(
            storage=storage,
            study_name=_name(study),
            direction="minimize",
            pruner=optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        seed = derive(study.tuning.seed, study.id, len(self._optuna.trials)) % 2**32
        self._optuna.sampler = optuna.samplers.TPESampler(seed=seed)
        own = study.own_values
        self._space = {key: _distribution(span, own[key]) for key, span in study.spans.items()}
        self._running: dict[int, optuna.Trial] = {}
        self._void: set[int] = set(self._optuna.user_attrs.get(_VOID, []))

    def resume(self, failed_too: bool = False) -> None:
        """Before the first draw: what an earlier run left running is drawn anew, with `failed_too`
        also what failed, and the sweep's own values are drawn where they were not."""
        for trial in self._known(TrialState.RUNNING):
            self._discount(trial.number)
            self._optuna.tell(trial.number, state=TrialState.FAIL)
        if failed_too:
            self._discount(*(trial.number for trial in self._known(TrialState.FAIL)))
        self._draw_again(self._study.own_values)
        for trial in self._known(TrialState.FAIL):
            if trial.number in self._void:
                self._draw_again(trial.params)

    def draw(self) -> Draw:
        """The next trial: one that waits, else one that TPE suggests."""
        trial = self._optuna.ask(fixed_distributions=self._space)
        trial.set_user_attr("started", time.time())
        self._running[trial.number] = trial
        return Draw(trial.number, dict(trial.params), trial.params == self._study.own_values)

    def reached(self, number: int, rung: Rung) -> None:
        """A running trial was evaluated."""
        trial = self._running[number]
        rungs = [*trial.user_attrs.get("rungs", []), [rung.steps, dict(rung.losses), rung.at]]
        trial.set_user_attr("rungs", rungs)
        trial.report(self._study.objective(rung.losses), rung.steps)

    def end(self, number: int, state: State, error: str = "") -> None:
        """A running trial has ended."""
        trial = self._running.pop(number)
        trial.set_user_attr("ended", time.time())
        if error:
            trial.set_user_attr("error", error)
        match state:
            case "finished":
                losses = trial.user_attrs["rungs"][-1][1]
                self._optuna.tell(trial, self._study.objective(losses))
            case "stopped":
                self._optuna.tell(trial, state=TrialState.PRUNED)
            case "diverged":
                # Not a failure: TPE keeps away from where losses overflow.
                trial.set_user_attr("diverged", True)
                self._optuna.tell(trial, state=TrialState.PRUNED)
            case "failed":
                self._optuna.tell(trial, state=TrialState.FAIL)

    def lose(self, number: int, retries: int) -> bool:
        """A running trial's worker died: its values are drawn again, or they failed for good;
        returns whether they are drawn again."""
        trial = self._running[number]
        dead = [t for t in self._known(TrialState.FAIL) if t.params == trial.params]
        deaths = 1 + sum(bool(t.user_attrs.get("worker_died")) for t in dead)
        trial.set_user_attr("worker_died", True)
        if deaths > retries:
            self.end(number, "failed", f"its worker died {deaths} times")
            return False
        self._discount(number)
        self.end(number, "failed")
        self._draw_again(trial.params)
        return True

    def running(self) -> int:
        """How many trials this process has under way."""
        return len(self._running)

    def ended(self) -> tuple[Trial, ...]:
        """The trials that count, in the order they were drawn."""
        return tuple(_plain(t) for t in self._known(*_STATES) if t.number not in self._void)

    def _known(self, *states: TrialState) -> list[FrozenTrial]:
        return self._optuna.get_trials(deepcopy=False, states=states)

    def _draw_again(self, values: Mapping[str, Value]) -> None:
        """Have these values drawn next, unless they wait already or have been tried."""
        for trial in self._optuna.get_trials(deepcopy=False):
            waits = trial.system_attrs.get(_FIXED) if trial.state is TrialState.WAITING else None
            if trial.number not in self._void and values == (waits or trial.params):
                return
        self._optuna.enqueue_trial(dict(values))

    def _discount(self, *numbers: int) -> None:
        self._void.update(numbers)
        self._optuna.set_user_attr(_VOID, sorted(self._void))


def _name(study: Study) -> str:
    return f"{study.sweep.name} {study.path} {study.id[:16]}"


def _distribution(span: Domain, own: Value) -> BaseDistribution:
    if span.choice is not None:
        return CategoricalDistribution(span.choice)
    assert span.ends is not None
    low, high = span.ends
    log = span.log is not None
    if isinstance(own, int):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _plain(trial: FrozenTrial) -> Trial:
    attrs = trial.user_attrs
    state: State = "diverged" if attrs.get("diverged") else _STATES[trial.state]
    started = attrs["started"]
    return Trial(
        number=trial.number,
        state=state,
        values=dict(trial.params),
        rungs=tuple(Rung(*rung) for rung in attrs.get("rungs", [])),
        started=started,
        ended=attrs.get("ended", started),
        error=attrs.get("error", ""),
    )
