"""Which trials are proposed, kept and promoted: real Optuna, a real store, no cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tamt_ray.execution.proposer import Proposer, draw
from tamt_ray.plan.study import Study, studies
from tamt_ray.plan.tuning import Outcome, Rung, Survey, Trial
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.tuning import Value
from tamt_ray.store.proposals import read_proposals
from tamt_ray.store.store import Store, StoreError


def small(trials: int = 8, spans: Mapping[str, object] | None = None) -> Sweep:
    text = {"source": "dir:a.txt"}
    tune = {
        "sparsity": 0.5, "trials": trials, "rungs": [2, 6],
        "methods": {"tamt_kd": spans or {
            "lr": {"log": [1e-5, 1e-2]},
            "ranking": {"choice": ["signed", "magnitude"]},
            "search.decay_steps": {"uniform": [18, 30000]},
        }},
    }  # fmt: skip
    return Sweep.model_validate(
        {
            "name": "small",
            "models": {"mini": {"source": "dir:m"}},
            "corpus": {"train": text, "validation": text},
            "methods": [{"method": "tamt_kd", "steps": 5, "lr": 1e-3}],
            "sparsities": [0.5],
            "tune": tune,
        }
    )


@dataclass(frozen=True)
class Measured:
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Broken:
    error: str
    message: str = ""


class Run:
    """A run of a tuning whose store outlives it; losses are given instead of computed."""

    def __init__(self, folder: Path, trials: int = 8) -> None:
        self.sweep = small(trials)
        (self.study,) = studies(self.sweep)
        self.store = Store(str(folder / "results"))
        self.results: dict[str, Measured] = {}
        self.problems: dict[str, Broken] = {}
        self.take_up()

    def take_up(self) -> None:
        """Begin anew with what the store has."""
        self.proposer = Proposer(self.sweep, self.store, {})

    def propose(self, width: int) -> Survey:
        return self.proposer.propose(self.results, self.problems, width)

    def evaluate(self, trial: Trial, loss: float, rung: int) -> None:
        ends = self.study.units(trial.number, trial.values).ends
        for end in ends[: rung + 1]:
            self.results[end] = Measured({"mlm_loss": 7.0, "kd_loss": loss})


def values_of(survey: Survey) -> list[Mapping[str, Value]]:
    return [trial.values for trial in survey.outcomes[0].trials]


def test_as_many_trials_are_at_work_as_there_is_room_for(tmp_path: Path) -> None:
    run = Run(tmp_path)
    survey = run.propose(3)
    first, second, third = survey.outcomes[0].trials
    assert first.values == {"lr": 1e-3, "ranking": "signed", "search.decay_steps": 27920}
    assert survey.running == 3
    assert 1e-5 <= float(second.values["lr"]) <= 1e-2
    assert isinstance(second.values["search.decay_steps"], int)
    assert second.values != third.values
    assert values_of(run.propose(3)) == values_of(survey)
    run.evaluate(second, 0.5, rung=0)
    # The first of a rung goes on, so that three are at work still.
    survey = run.propose(3)
    assert (survey.running, len(survey.outcomes[0].trials)) == (3, 3)
    run.evaluate(third, 0.9, rung=0)
    survey = run.propose(3)
    assert survey.outcomes[0].trials[2].state == "stopped"
    assert (survey.running, len(survey.outcomes[0].trials)) == (3, 4)


def test_a_run_that_is_taken_up_again_proposes_what_the_one_before_would_have(
    tmp_path: Path,
) -> None:
    """Every proposal is in the store before its units begin; the next draw depends on results
    alone."""
    told: list[list[Mapping[str, Value]]] = []
    for name, killed in (("whole", False), ("killed", True)):
        run = Run(tmp_path / name)
        while not (survey := run.propose(2)).over:
            trial = next(t for t in survey.outcomes[0].trials if t.state == "running")
            rung = max(len(trial.rungs), 1 if trial.number == 0 else 0)
            run.evaluate(trial, float(trial.values["lr"]), rung)
            if killed:
                run.take_up()
        told.append(values_of(survey))
        assert survey.outcomes[0].trials[0].state == "finished"
        assert survey.to_propose == 0
        assert 2 <= len(survey.outcomes[0].state("finished")) < 8
    assert told[0] == told[1]
    assert len(told[0]) == 8


def test_a_study_can_be_prolonged(tmp_path: Path) -> None:
    before = values_of(Run(tmp_path, trials=3).propose(9))
    after = values_of(Run(tmp_path, trials=5).propose(9))
    assert len(before) == 3
    assert after[:3] == before
    assert len(after) == 5


def test_a_trial_that_failed_or_diverged_counts_and_is_not_drawn_again(tmp_path: Path) -> None:
    run = Run(tmp_path, trials=3)
    survey = run.propose(3)
    for trial, error in zip(
        survey.outcomes[0].trials, ("ValueError", "NonFiniteLossError", "ValueError"), strict=True
    ):
        first = next(iter(run.study.units(trial.number, trial.values).plan.units.values()))
        run.problems[first.id] = Broken(error)
    survey = run.propose(3)
    assert [trial.state for trial in survey.outcomes[0].trials] == ["failed", "diverged", "failed"]
    assert survey.over


def outcome(study: Study, *trials: Trial) -> Outcome:
    return Outcome(study, trials, {})


def test_what_is_drawn_depends_on_the_results_and_not_on_their_order_of_arrival() -> None:
    (study,) = studies(small(40, {"lr": {"log": [1e-5, 1e-2]}}))

    def trial(number: int, lr: float) -> Trial:
        losses = {"kd_loss": abs(lr - 2e-3)}
        rungs = (Rung(2, losses), Rung(6, losses))
        return Trial(number, {"lr": lr}, "finished", rungs)

    rates = [1e-3, *(10 ** (-5 + 0.2 * n) for n in range(15))]
    known = [trial(number, lr) for number, lr in enumerate(rates)]
    drawn = [draw(outcome(study, *known), 16 + n)["lr"] for n in range(8)]
    assert drawn == [draw(outcome(study, *known), 16 + n)["lr"] for n in range(8)]
    assert len(set(drawn)) == 8
    near = sum(5e-4 < float(lr) < 8e-3 for lr in drawn)
    assert near >= 6, "TPE keeps to where losses were small"
    at_work = Trial(99, {"lr": 1e-4}, "running")
    assert draw(outcome(study, *known, at_work), 16)["lr"] == drawn[0]
    diverged = Trial(99, {"lr": 1.9e-3}, "diverged", error="nan")
    assert draw(outcome(study, *known, diverged), 16)["lr"] != drawn[0]


def test_values_are_drawn_twice_only_where_there_are_no_others() -> None:
    (study,) = studies(small(9, {"ranking": {"choice": ["signed", "magnitude"]}}))
    first = Trial(0, {"ranking": "signed"}, "running")
    second = Trial(1, draw(outcome(study, first), 1), "running")
    assert second.values == {"ranking": "magnitude"}
    assert draw(outcome(study, first, second), 2)["ranking"] in {"signed", "magnitude"}


def test_a_damaged_proposal_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.propose(2)
    assert [each.trial for each in read_proposals(run.store, "small", run.study)] == [0, 1]
    (file,) = (tmp_path / "results/tuning/small").glob("*/00001-00.json")
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(StoreError, match=r"00001-00\.json is not what was written; remove it"):
        run.take_up()
    file.unlink()
    run.take_up()
    assert len(values_of(run.propose(2))) == 2


def test_looking_writes_nothing(tmp_path: Path) -> None:
    Run(tmp_path)
    assert not (tmp_path / "results").exists()
