"""A study's identity, and the searches behind a trial."""

from tamt_ray.methods.imp import ImpSearch
from tamt_ray.methods.tamt import TamtSearch
from tamt_ray.plan.expand import expand
from tamt_ray.plan.tuning import Outcome, Rung, Study, Trial, steps_at_most, studies
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


def test_a_trial_is_the_very_search_that_a_sweep_with_its_values_would_run() -> None:
    (config,) = both(sweep())[1].searches({"lr": 2e-3, "search.decay_steps": 150}, 61)
    assert isinstance(config, TamtSearch)
    pasted = sweep(
        methods=[{"method": "tamt_mlm_kd", "steps": 61, "lr": 2e-3}],
        search={"decay_steps": 150}, mask_seeds=[4], tune=None,
    )  # fmt: skip
    expected = [u.config for u in expand(pasted).units.values() if u.kind == "search"]
    assert [config] == expected


def test_a_rung_of_imp_is_a_chain_that_shares_its_steps_out() -> None:
    """To 70 % by 10 % there are six levels to train: 61 steps leave 10 each."""
    methods = [{"method": "imp", "step": 0.1}, {"method": "tamt_mlm_kd", "steps": 5, "lr": 1e-3}]
    chain = both(sweep(methods=methods))[0].searches({"lr": 1e-4}, 61)
    assert all(isinstance(config, ImpSearch) for config in chain)
    told = [(c.steps, c.sparsity, c.optimizer.lr) for c in chain]
    assert told == [(10, level, 1e-4) for level in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)]


def test_the_ground_is_the_head_omp_and_two_evaluations() -> None:
    kinds = [(u.kind, u.cell.method) for u in both(sweep())[0].ground().units.values()]
    assert kinds == [
        ("head", ""), ("search", "omp"), ("pretrain_eval", "full"), ("pretrain_eval", "omp"),
    ]  # fmt: skip


def test_steps_at_most() -> None:
    """An IMP chain of another length begins anew: 8 × (20 + 61) against 8 × 61."""
    assert [steps_at_most(study) for study in studies(sweep())] == [648, 488]


def test_the_best_trial_is_one_that_went_to_the_end() -> None:
    study = both(sweep())[1]

    def trial(number: int, state: str, loss: float, lr: float = 0.1) -> Trial:
        rung = Rung(61, {"mlm_loss": loss, "kd_loss": 1.0}, at=0.0)
        values = {"lr": lr, "search.decay_steps": 400}
        return Trial(number, state, values, (rung,), 0.0, 1.0)  # pyright: ignore

    trials = (
        trial(0, "finished", 5.0, lr=1e-3),
        trial(1, "stopped", 2.0),
        trial(2, "finished", 4.0),
        trial(3, "diverged", 1.0),
    )
    outcome = Outcome(study, trials, {})
    best, own = outcome.best(), outcome.own()
    assert best
    assert own
    assert (best.number, outcome.objective(best), own.number) == (2, 5.0, 0)
    assert Outcome(study, trials[1:2], {}).best() is None
