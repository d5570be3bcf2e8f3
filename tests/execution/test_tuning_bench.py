"""A trial against the units that a sweep with the same values runs."""

from typing import Any

import pytest

from tamt_ray.execution.tuning.bench import TrialBench
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.expand import expand
from tamt_ray.plan.tuning import studies
from tamt_ray.search.team import ProcessGroup
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

Toy = dict[str, Any]


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        ({"method": "tamt_mlm_kd", "lr": 5e-3}, {"steps": 6}),
        ({"method": "imp", "step": 0.25, "lr": 1e-3, "rewind": False}, {"steps": 6}),
    ],
)
def test_a_trial_ends_where_the_sweep_with_its_values_ends(
    toy: Toy, method: dict[str, object], steps: dict[str, int]
) -> None:
    """Evaluated at a rung on the way, too, which must leave no trace in the search."""
    name = str(method["method"])
    toy |= {"tasks": {}, "methods": [{**method, "lr": 0.5, **steps}], "mask_seeds": [3]}
    tune = {
        "sparsity": 0.5, "trials": 2, "rungs": [2, 6], "seed": 3,
        "methods": {name: {"lr": {"log": [1e-4, 1]}, "search.decay_steps": {"uniform": [6, 30]}}},
    }  # fmt: skip
    (study,) = studies(Sweep.model_validate({**toy, "tune": tune}))
    values = {"lr": method["lr"], "search.decay_steps": 9}
    store = Store(str(toy["store"]))
    climbed = list(TrialBench(study, store, ProcessGroup()).climb(values))  # pyright: ignore
    assert [rung.steps for rung in climbed] == [2, 6]

    toy["methods"] = [{**method, **steps}]
    toy["search"]["decay_steps"] = 9
    bench = UnitRunner(store, ProcessGroup(), "here")
    records = [bench.perform(unit) for unit in expand(Sweep.model_validate(toy)).units.values()]
    assert climbed[-1].losses == {
        name: pytest.approx(records[-1].metrics[name], rel=1e-6) for name in ("mlm_loss", "kd_loss")
    }
    assert climbed[0].losses != climbed[-1].losses


def test_the_rate_and_the_threshold_of_distillation_are_one_setting(toy: Toy) -> None:
    """Twice both is the same search bit for bit; twice the rate alone is another one."""
    toy |= {"tasks": {}, "methods": [{"method": "tamt_kd", "lr": 5e-3, "steps": 6}]}
    spans = {"lr": {"log": [1e-4, 1]}, "threshold": {"log": [1e-3, 1]}}
    tune = {"sparsity": 0.5, "trials": 2, "rungs": [3, 6], "methods": {"tamt_kd": spans}}
    (study,) = studies(Sweep.model_validate({**toy, "tune": tune}))
    bench = TrialBench(study, Store(str(toy["store"])), ProcessGroup())
    once, twice, faster = (
        [rung.losses for rung in bench.climb({"lr": lr, "threshold": threshold})]
        for lr, threshold in ((5e-3, 0.01), (1e-2, 0.02), (1e-2, 0.01))
    )
    assert once == twice
    assert once != faster
