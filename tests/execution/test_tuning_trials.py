"""Which trials are drawn, kept, drawn again and stopped; Optuna for real, no Ray cluster."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from optuna.storages import BaseStorage, JournalStorage
from ray.tune.search import Searcher

from tamt_ray.execution.tuning.journal import StoreJournal
from tamt_ray.execution.tuning.search import (
    Halving,
    Heard,
    LostTrials,
    StudySearcher,
    result_of,
    result_of_end,
)
from tamt_ray.execution.tuning.trials import Draw, Trials, known_trials, open_storage
from tamt_ray.plan.tuning import Rung, Study, Trial, studies
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

RUNGS = [2, 6, 18]


def make_study(trials: int = 4) -> Study:
    text = {"source": "dir:a.txt"}
    (study,) = studies(
        Sweep.model_validate(
            {
                "name": "small",
                "models": {"mini": {"source": "dir:m"}},
                "corpus": {"train": text, "validation": text},
                "methods": [{"method": "tamt_kd", "steps": 5, "lr": 1e-3}],
                "sparsities": [0.5],
                "tune": {
                    "sparsity": 0.5, "trials": trials, "rungs": RUNGS,
                    "methods": {
                        "tamt_kd": {
                            "lr": {"log": [1e-5, 1e-2]},
                            "ranking": {"choice": ["signed", "magnitude"]},
                            "search.decay_steps": {"uniform": [18, 30000]},
                        }
                    },
                },
            }
        )
    )  # fmt: skip
    return study


def rung(steps: int, kd_loss: float) -> Rung:
    return Rung(steps, {"mlm_loss": 7.0, "kd_loss": kd_loss}, at=1.0)


@pytest.fixture(params=["database", "journal"])
def storage(tmp_path: Path, request: pytest.FixtureRequest) -> BaseStorage:
    """As on a disk, and as on an object store."""
    store = Store(str(tmp_path / "results"))
    if request.param == "database":
        return open_storage(store, "small")
    return JournalStorage(StoreJournal(store, "tuning/small"))


def opened(storage: BaseStorage, trials: int = 4, **options: bool) -> Trials:
    found = Trials(storage, make_study(trials))
    found.resume(**options)
    return found


def finish(trials: Trials, kd_loss: float) -> Draw:
    """Draw a trial and let it go to the end."""
    draw = trials.draw()
    for steps in RUNGS:
        trials.reached(draw.number, rung(steps, kd_loss))
    trials.end(draw.number, "finished")
    return draw


def test_the_first_trial_has_the_sweeps_own_values(storage: BaseStorage) -> None:
    trials = opened(storage)
    first, second = trials.draw(), trials.draw()
    assert first.own
    assert first.values == {"lr": 1e-3, "ranking": "signed", "search.decay_steps": 27920}
    assert not second.own
    assert 1e-5 <= float(second.values["lr"]) <= 1e-2
    assert isinstance(second.values["search.decay_steps"], int)


def test_an_ended_trial_is_kept_and_never_drawn_again(storage: BaseStorage) -> None:
    trials = opened(storage)
    first = finish(trials, 0.2)
    second = trials.draw()
    trials.reached(second.number, rung(2, 0.9))
    trials.end(second.number, "stopped")
    third = trials.draw()
    trials.end(third.number, "diverged", "the loss is nan at step 1")

    known = known_trials(storage, make_study())
    assert known == opened(storage).ended()
    assert [trial.state for trial in known] == ["finished", "stopped", "diverged"]
    assert [len(trial.rungs) for trial in known] == [3, 1, 0]
    assert known[0].values == first.values
    assert known[0].rungs[-1] == rung(18, 0.2)
    assert known[2].error == "the loss is nan at step 1"
    assert opened(storage).draw().values not in [trial.values for trial in known]


def test_nothing_is_made_by_looking(storage: BaseStorage) -> None:
    assert known_trials(storage, make_study()) == ()
    assert storage.get_all_studies() == []


def test_what_a_killed_run_left_running_is_run_anew(storage: BaseStorage) -> None:
    killed = opened(storage)
    finish(killed, 0.2)
    running = [killed.draw(), killed.draw()]
    killed.reached(running[0].number, rung(2, 0.9))

    resumed = opened(storage)
    assert len(resumed.ended()) == 1
    again = [resumed.draw(), resumed.draw()]
    assert [draw.values for draw in again] == [draw.values for draw in running]
    assert not {draw.number for draw in again} & {draw.number for draw in running}
    for draw in again:
        resumed.end(draw.number, "diverged")
    assert len(opened(storage).ended()) == 3
    assert opened(storage).draw().values not in [draw.values for draw in running]


def test_a_resumed_sampler_does_not_repeat_its_draws(storage: BaseStorage) -> None:
    seen: list[object] = []
    for _ in range(3):
        trials = opened(storage)
        seen += [finish(trials, 0.5).values["lr"] for _ in range(2)]
    assert len(set(seen)) == 6


def test_a_lost_worker_is_forgiven_a_few_times(storage: BaseStorage) -> None:
    trials = opened(storage)
    finish(trials, 0.2)
    draw = trials.draw()
    assert trials.lose(draw.number, retries=1)
    again = trials.draw()
    assert again.values == draw.values
    assert not trials.lose(again.number, retries=1)
    assert [trial.state for trial in trials.ended()] == ["finished", "failed"]
    assert trials.ended()[1].error == "its worker died 2 times"
    assert opened(storage).draw().values != draw.values

    retried = opened(storage, failed_too=True)
    assert [trial.state for trial in retried.ended()] == ["finished"]


def searcher(trials: Trials, limit: int = 4, retries: int = 3) -> StudySearcher:
    return StudySearcher(make_study(limit), trials, retries, heard=lambda news: None)


def test_the_loss_of_a_worker_is_told_with_its_reason(storage: BaseStorage) -> None:
    told: list[Heard] = []
    search = StudySearcher(make_study(), opened(storage), 0, told.append)
    (draw,) = search.suggest("a")["draw"]
    search.on_trial_complete("a", error=True)
    error = ray.exceptions.OutOfMemoryError("the node ran low on memory")
    trial = SimpleNamespace(trial_id="a", get_pickled_error=lambda: error)
    LostTrials(search).on_trial_error(0, [], trial)  # pyright: ignore
    assert told == [Heard(draw.number, None, "failed", "out of memory")]


def test_the_searcher_draws_as_many_as_asked_and_replaces_the_lost(storage: BaseStorage) -> None:
    trials = opened(storage, 3)
    search, study = searcher(trials, 3), make_study(3)
    configs = [search.suggest(name) for name in "abc"]
    assert all(config["draw"] for config in configs)
    assert search.suggest("d") is None, "three are under way, and one may yet be lost"
    search.on_trial_complete("b", error=True)
    (again,) = search.suggest("e")["draw"]
    assert again.values == configs[1]["draw"][0].values
    search.on_trial_complete("a", result_of_end("diverged", "nan"))
    search.on_trial_result("c", result_of(study, rung(2, 0.5)))
    search.on_trial_complete("c", result_of(study, rung(6, 0.5)))
    search.on_trial_complete("e", result_of(study, rung(18, 0.4)))
    assert search.suggest("f") == Searcher.FINISHED
    assert [trial.state for trial in trials.ended()] == ["diverged", "stopped", "finished"]
    assert searcher(opened(storage, 4)).suggest("g") != Searcher.FINISHED, "one more was asked for"


def test_a_searcher_told_to_stop_waits_for_those_under_way(storage: BaseStorage) -> None:
    search = searcher(opened(storage))
    search.suggest("a")
    search.stopped = True
    assert search.suggest("b") is None
    search.on_trial_complete("a", result_of_end("failed", "no"))
    assert search.suggest("b") == Searcher.FINISHED


def trial_of(name: str, own: bool = False) -> SimpleNamespace:
    return SimpleNamespace(trial_id=name, config={"draw": [Draw(0, {}, own)]})


def decide(asha: Halving, name: str, steps: int, loss: float, own: bool = False) -> str:
    trial, nobody = trial_of(name, own), None
    if steps == RUNGS[0]:
        asha.on_trial_add(nobody, trial)  # pyright: ignore
    return asha.on_trial_result(nobody, trial, result_of(make_study(), rung(steps, loss)))


def test_about_one_in_three_goes_on_from_a_rung() -> None:
    """The cut is the 66.7th percentile of what came before: of −4, −3, −2, −1 (losses 4, 3, 2, 1)
    that is −2; a loss of 2 goes on, 2.1 does not."""
    asha = Halving(make_study(), ())
    for number, loss in enumerate([1.0, 2.0, 3.0, 4.0]):
        decide(asha, f"early-{number}", 2, loss)
    assert decide(asha, "good", 2, 2.0) == "CONTINUE"
    assert decide(asha, "bad", 2, 2.1) == "STOP"
    assert decide(asha, "good", 6, 9.0) == "CONTINUE", "the first at its rung"
    assert decide(asha, "good", 18, 9.0) == "STOP", "the last rung ends it"


def test_the_sweeps_own_values_are_never_cut() -> None:
    asha = Halving(make_study(), ())
    decide(asha, "early", 2, 1.0)
    assert decide(asha, "late", 2, 5.0) == "STOP"
    assert decide(asha, "own", 2, 5.0, own=True) == "CONTINUE"


def test_trials_of_earlier_runs_count_at_the_rungs() -> None:
    known = [
        Trial(number, "stopped", {}, (rung(2, loss),), 0.0, 1.0)
        for number, loss in enumerate([1.0, 2.0, 3.0, 4.0])
    ]
    assert decide(Halving(make_study(), ()), "new", 2, 3.5) == "CONTINUE"
    assert decide(Halving(make_study(), tuple(known)), "new", 2, 3.5) == "STOP"
