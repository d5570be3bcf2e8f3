"""A study: its identity, its trials as units, and their states; pure, no store."""

from collections.abc import Mapping
from dataclasses import dataclass

from tamt_ray.methods.base import Search
from tamt_ray.methods.imp import ImpSearch
from tamt_ray.plan.expand import expand
from tamt_ray.plan.status import unit_path
from tamt_ray.plan.study import Proposal, Study, TrialUnits, steps_at_most, studies
from tamt_ray.plan.tuning import Outcome, Survey, TuningPlan
from tamt_ray.spec.sweep import Sweep


def sweep(**changes: object) -> Sweep:
    text = {"source": "dir:a.txt"}
    return Sweep.model_validate(
        {
            "name": "small",
            "models": {"mini": {"source": "dir:m", "head": {"steps": 5}}},
            "corpus": {"train": text, "validation": text},
            "search": {"decay_steps": 400},
            "methods": [
                {"method": "imp", "step": 0.35, "steps": 10},
                {"method": "tamt_mlm_kd", "steps": {"0.7": 180}, "lr": 1e-3, "checkpoints": [20]},
            ],
            "sparsities": [0.7],
            "mask_seeds": [4, 5],
            "tasks": {},
            "tune": {
                "sparsity": 0.7, "trials": 8, "rungs": [20, 61], "seed": 4,
                "methods": {
                    "imp": {"lr": {"log": [1e-5, 1e-3]}},
                    "tamt_mlm_kd": {"lr": {"log": [1e-5, 1e-2]},
                                    "search.decay_steps": {"uniform": [100, 500]}},
                },
            },
            **changes,
        }
    )  # fmt: skip


def tuned(**changes: object) -> Sweep:
    """The sweep with another `tune:`."""
    before = sweep().tune
    assert before
    return sweep(tune={**before.model_dump(exclude_none=True), **changes})


def both(one: Sweep) -> tuple[Study, Study]:
    imp, tamt = studies(one)
    return imp, tamt


def test_a_study_may_grow_and_its_findings_may_be_taken_over_without_a_new_one() -> None:
    imp, tamt = both(sweep())
    assert imp.id != tamt.id
    assert both(tuned(trials=80, reduction=2))[1].id == tamt.id
    better = [
        {"method": "imp", "step": 0.35, "steps": 99},
        {"method": "tamt_mlm_kd", "steps": 7, "lr": 5e-3},
    ]
    taken_over = both(sweep(methods=better, search={"decay_steps": 300}))[1]
    assert taken_over.id == tamt.id
    assert taken_over.own_values == {"lr": 5e-3, "search.decay_steps": 300}


def test_whatever_changes_a_trial_makes_another_study() -> None:
    ids = {
        both(one)[1].id
        for one in (
            sweep(),
            tuned(rungs=[20, 62]),
            tuned(seed=5),
            tuned(objective="kd_loss"),
            tuned(methods={"imp": {"lr": {"log": [1e-5, 1e-3]}},
                           "tamt_mlm_kd": {"lr": {"log": [1e-5, 1e-2]}}}),
            sweep(search={"decay_steps": 400, "batch_size": 8}),
            sweep(pretrain_eval={"seed": 9}),
            sweep(methods=[{"method": "imp", "step": 0.35},
                           {"method": "tamt_mlm_kd", "steps": 180, "lr": 1e-3, "scale": 3}]),
        )
    }  # fmt: skip
    assert len(ids) == 8


def searches(units: TrialUnits) -> list[Search]:
    return [u.config for u in units.plan.units.values() if isinstance(u.config, Search)]


def test_a_trial_is_the_very_units_that_a_sweep_with_its_values_runs() -> None:
    trial = both(sweep())[1].units(3, {"lr": 2e-3, "search.decay_steps": 150})
    pasted = sweep(
        methods=[{"method": "tamt_mlm_kd", "steps": 61, "lr": 2e-3, "checkpoints": [20]}],
        search={"decay_steps": 150}, mask_seeds=[4], tune=None,
    )  # fmt: skip
    assert trial.plan.units.keys() == expand(pasted).units.keys()


def test_the_rungs_of_a_training_are_checkpoints_of_one_trajectory() -> None:
    trial = both(sweep())[1].units(3, {"lr": 2e-3, "search.decay_steps": 150})
    first, last = [u for u in trial.plan.units.values() if u.kind == "search"]
    assert (first.goes_on, last.after, last.begin) == (True, first.id, 20)
    assert [unit_path(trial.plan.units[end]) for end in trial.ends] == [
        "pretrain_eval/mini/tamt_mlm_kd-3/0.7/4/20", "pretrain_eval/mini/tamt_mlm_kd-3/0.7/4",
    ]  # fmt: skip
    up_to = trial.up_to(0).units
    assert {first.id, trial.ends[0]} < up_to.keys()
    assert not {last.id, trial.ends[1]} & up_to.keys()


def test_a_rung_of_imp_is_a_chain_that_shares_its_steps_out() -> None:
    """To 70 % by 10 % there are six levels to train: 20 steps leave 3 each, 61 leave 10."""
    methods = [{"method": "imp", "step": 0.1}, {"method": "tamt_mlm_kd", "steps": 5, "lr": 1e-3}]
    chain = searches(both(sweep(methods=methods))[0].units(0, {"lr": 1e-4}))
    assert all(isinstance(config, ImpSearch) and config.optimizer.lr == 1e-4 for config in chain)
    assert [(config.own_steps, config.sparsity) for config in chain] == [
        (steps, level) for steps in (3, 10) for level in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    ]


def test_the_ground_is_the_head_omp_and_two_evaluations() -> None:
    kinds = [(u.kind, u.cell.method) for u in both(sweep())[0].ground().units.values()]
    assert kinds == [
        ("head", ""), ("search", "omp"), ("pretrain_eval", "full"), ("pretrain_eval", "omp"),
    ]  # fmt: skip


def test_steps_at_most() -> None:
    """An IMP chain of another length begins anew: 8 × (20 + 61) against 8 × 61."""
    assert [steps_at_most(study) for study in studies(sweep())] == [648, 488]


@dataclass(frozen=True)
class Measured:
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Broken:
    error: str
    message: str = "at step 3"


class Lab:
    """One study of the sweep, and what its store would hold."""

    def __init__(self, **changes: object) -> None:
        self.sweep = tuned(**changes)
        self.plan = TuningPlan(self.sweep)
        self.study = both(self.sweep)[1]
        self.proposals: list[Proposal] = []
        self.results: dict[str, Measured] = {}
        self.problems: dict[str, Broken] = {}

    def propose(self, trial: int, rung: int = 0, lr: float | None = None) -> None:
        values = {"lr": lr or 1e-3 * (trial + 1), "search.decay_steps": 400}
        self.proposals.append(Proposal(trial=trial, rung=rung, values=values))

    def units(self, trial: int) -> TrialUnits:
        values = next(each.values for each in self.proposals if each.trial == trial)
        return self.study.units(trial, values)

    def evaluate(self, trial: int, *losses: float) -> None:
        for loss, end in zip(losses, self.units(trial).ends, strict=False):
            found = Measured({"mlm_loss": loss, "kd_loss": 1.0, "predicted_tokens": 9.0})
            self.results[end] = found

    def survey(self) -> Survey:
        return self.plan.survey({self.study.id: self.proposals}, self.results, self.problems)

    def outcome(self) -> Outcome:
        return self.survey().outcomes[1]

    def promoted(self) -> list[tuple[int, int]]:
        return [(each.trial, each.rung) for each in self.outcome().promotions()]


def test_the_best_trial_is_one_that_went_to_the_end() -> None:
    lab = Lab()
    for trial, losses in enumerate([(6.0, 5.0), (2.0,), (5.0, 4.0)]):
        lab.propose(trial)
        lab.evaluate(trial, *losses)
    outcome = lab.outcome()
    best, own = outcome.best(), outcome.own()
    assert best
    assert own
    assert (best.number, outcome.objective(best), own.number) == (2, 5.0, 0)
    assert [trial.state for trial in outcome.trials] == ["finished", "stopped", "finished"]


def test_a_study_begins_with_the_sweeps_own_values_at_every_rung() -> None:
    survey = Lab().survey()
    (first,) = survey.outcomes[1].trials
    assert first.values == {"lr": 1e-3, "search.decay_steps": 400}
    assert survey.running == 2
    assert survey.to_propose == 14
    assert sum(unit.kind == "search" for unit in survey.plan.units.values()) == 1 + 2 + 2


def test_the_best_third_of_those_at_a_rung_goes_on() -> None:
    """With `reduction: 3`, one of the first five, two of six; equal losses: the lower number."""
    lab = Lab(rungs=[20, 40, 61])
    for trial, loss in enumerate([7.0, 5.0, 6.0, 5.0, 8.0]):
        lab.propose(trial)
        lab.evaluate(trial, loss)
    assert lab.promoted() == [(1, 1)]
    lab.propose(5)
    lab.evaluate(5, 9.0)
    assert lab.promoted() == [(1, 1), (3, 1)]
    lab.propose(1, 1)
    lab.propose(3, 1)
    assert lab.promoted() == [], "they are on their way"
    lab.evaluate(3, 5.0, 4.0)
    assert lab.promoted() == [(3, 2)], "the only one at the second rung"


def test_a_trial_is_stopped_only_until_enough_others_are_worse() -> None:
    lab = Lab()
    lab.propose(0, 1)
    lab.evaluate(0, 5.0, 5.0)
    lab.propose(1)
    lab.evaluate(1, 6.0)
    assert lab.promoted() == []
    assert lab.outcome().trials[1].state == "stopped"
    for trial in (2, 3, 4, 5):
        lab.propose(trial)
        lab.evaluate(trial, 7.0)
    assert lab.promoted() == [(1, 1)]


def test_divergence_is_an_outcome_and_leaves_the_plan_whole() -> None:
    lab = Lab()
    lab.propose(0, 1)
    lab.propose(1, 1)
    lab.evaluate(1, 6.0)
    diverged = next(u.id for u in lab.units(1).plan.units.values() if u.after)
    lab.problems[diverged] = Broken("NonFiniteLossError")
    survey = lab.survey()
    trial = survey.outcomes[1].trials[1]
    assert (trial.state, len(trial.rungs)) == ("diverged", 1)
    assert trial.error == "NonFiniteLossError: at step 3"
    assert diverged not in survey.plan.units
    assert lab.units(1).ends[0] in survey.plan.units

    lab.problems[diverged] = Broken("ValueError")
    survey = lab.survey()
    assert survey.outcomes[1].trials[1].state == "failed"
    assert diverged in survey.plan.units


def test_without_a_head_nothing_more_is_proposed() -> None:
    lab = Lab()
    (head,) = [u.id for u in lab.study.ground().units.values() if u.kind == "head"]
    lab.problems[head] = Broken("OSError")
    survey = lab.survey()
    assert [outcome.blocked for outcome in survey.outcomes] == [True, True]
    assert survey.over
