"""Which trial comes next and which one stops: Optuna and ASHA under Ray Tune."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher

from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.tuning.trials import Draw, Trials
from tamt_ray.plan.tuning import Rung, State, Study, Trial

OBJECTIVE, TIME = "objective", "rung_time"
"""Keys of a result that ASHA reads."""


def result_of(study: Study, rung: Rung) -> dict[str, object]:
    """What a worker tells Tune at a rung."""
    number = study.tuning.rungs.index(rung.steps)
    return {
        "rung": rung,
        OBJECTIVE: study.objective(rung.losses),
        TIME: study.tuning.reduction**number,
        "done": rung.steps == study.tuning.rungs[-1],
    }


@dataclass(frozen=True)
class Heard:
    """News of a trial: a rung it reached, and how it ended if it did."""

    number: int
    rung: Rung | None
    ended: State | Literal["lost"] | None
    error: str = ""


def result_of_end(state: State, error: str) -> dict[str, object]:
    """What a worker tells Tune of a trial that ended between two rungs. ASHA, finding no time in
    it, draws no conclusion for others."""
    return {"ended_as": state, "error": error, OBJECTIVE: math.inf, "done": True}


class StudySearcher(Searcher):
    """Suggests trials of one study to Tune.

    Ray's own OptunaSearch would tell Optuna the early loss of a stopped trial as if it were a
    finished one's, repeat a seeded sampler's first draws after every restart, and run trials again
    that were under way twice or never. Here a stopped trial is a pruned one.
    """

    def __init__(
        self, study: Study, trials: Trials, retries: int, heard: Callable[[Heard], None]
    ) -> None:
        """`heard` is told of every rung and every end."""
        super().__init__()
        self._trials = trials
        self._limit, self._last = study.tuning.trials, study.tuning.rungs[-1]
        self._retries = retries
        self._heard = heard
        self._numbers: dict[str, int] = {}
        self._lost: dict[str, Heard] = {}
        self.stopped = False
        """Set to have no further trial drawn."""

    def suggest(self, trial_id: str) -> Any:
        """The config of a trial, None while only a lost one could follow, or FINISHED."""
        running = self._trials.running()
        if self.stopped or len(self._trials.ended()) + running >= self._limit:
            return None if running else Searcher.FINISHED
        draw = self._trials.draw()
        self._numbers[trial_id] = draw.number
        return {"draw": [draw]}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial goes on beyond a rung."""
        number = self._numbers[trial_id]
        self._trials.reached(number, result["rung"])
        self._heard(Heard(number, result["rung"], None))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ends: at its last rung, at an earlier one, by itself, or with its worker."""
        number = self._numbers.pop(trial_id)
        if error or result is None:
            again = self._trials.lose(number, self._retries)
            self._lost[trial_id] = Heard(number, None, "lost" if again else "failed")
        elif "ended_as" in result:
            self._trials.end(number, result["ended_as"], result["error"])
            self._heard(Heard(number, None, result["ended_as"], result["error"]))
        else:
            rung: Rung = result["rung"]
            state = "finished" if rung.steps == self._last else "stopped"
            self._trials.reached(number, rung)
            self._trials.end(number, state)
            self._heard(Heard(number, rung, state))

    def lost(self, trial_id: str, why: str) -> None:
        """Tune says what took a trial's worker, after it has said that the trial is over."""
        self._heard(replace(self._lost.pop(trial_id), error=why))

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune pickles a searcher for a restore that never comes, see `save`."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's experiment state is not a ledger, Optuna's storage is."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""


class LostTrials(tune.Callback):
    """Tells a searcher why trials lost their workers."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """What a worker could report itself it has; of the rest only Ray knows."""
        error = trial.get_pickled_error() or RuntimeError("worker died")
        fault = fault_of(error)
        words = str(error).strip().split("\n")[-1] if fault is Fault.ERROR else fault.value
        self._searcher.lost(trial.trial_id, words)


@dataclass(frozen=True)
class _Known:
    """What ASHA reads of a trial of an earlier run."""

    trial_id: str


class Halving(AsyncHyperBandScheduler):
    """ASHA over the rungs of a study, the trials of earlier runs among them.

    ASHA spaces its rungs evenly in the logarithm of time; rung n is told as the time
    reduction^n, so that they may lie anywhere. The trial with the sweep's own values always goes to
    the end: the others are compared with it.
    """

    def __init__(self, study: Study, known: tuple[Trial, ...]) -> None:
        tuning = study.tuning
        # Ray says int and works with any number.
        last: Any = tuning.reduction ** (len(tuning.rungs) - 1)
        super().__init__(
            time_attr=TIME, metric=OBJECTIVE, mode="min", grace_period=1,
            max_t=last, reduction_factor=tuning.reduction,
        )  # fmt: skip
        for trial in known:
            stub: Any = _Known(f"known-{trial.number}")
            nobody: Any = None
            self.on_trial_add(nobody, stub)
            for rung in trial.rungs:
                super().on_trial_result(nobody, stub, result_of(study, rung))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        decision = super().on_trial_result(tune_controller, trial, result)
        draw: Draw = trial.config["draw"][0]
        return TrialScheduler.CONTINUE if draw.own else decision
