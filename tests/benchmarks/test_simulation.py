"""The imagined cluster against makespans worked out by hand."""

import pytest

from benchmarks.simulation import Simulation, World
from tamt_ray.plan.cost import ROUGH
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.execution import Execution
from tamt_ray.spec.load import parse_sweep

SWEEP = """
name: small
models: {mini: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [{method: tamt_kd, steps: 4000}]
sparsities: [0.5]
mask_seeds: [1, 2]
finetune_seeds: [1, 2, 3]
tasks:
  a: {kind: regression, train: {source: "dir:s.csv"}, validation: [{source: "dir:t.csv"}],
      text: [c]}
"""
EXACT = World(nodes=2, error=0.0, team=1.0, gang_start=0.0, gang_wait=0.0, trial=0.0)


def execution(workers: int, gangs: object) -> Execution:
    search = {"workers": workers, "gangs": gangs, "gpus": 1}
    return Execution.model_validate({"search": search, "finetune": {"gpus": 1}})


@pytest.fixture(scope="module")
def plan() -> Plan:
    return expand(parse_sweep(SWEEP))


def longest(plan: Plan, kind: str) -> float:
    return max(ROUGH.seconds(unit) for unit in plan.units.values() if unit.kind == kind)


def test_two_gangs_side_by_side_and_all_fine_tunes_behind_them(plan: Plan) -> None:
    """Sixteen GPUs: both searches at once, as wide as is said, then all that waits at once."""
    search, tune = longest(plan, "search"), longest(plan, "finetune")
    after = max(tune, longest(plan, "pretrain_eval"))
    for workers in (1, 4):
        found = Simulation(plan, execution(workers, 2), EXACT).run()
        assert found.makespan == pytest.approx(search / workers + after)
        assert found.bound == pytest.approx(search / workers + after)
        assert (found.gangs, found.losses) == (2, 0)


def test_one_gang_does_one_search_after_the_other(plan: Plan) -> None:
    found = Simulation(plan, execution(1, 1), EXACT).run()
    after = max(longest(plan, "finetune"), longest(plan, "pretrain_eval"))
    assert found.makespan == pytest.approx(2 * longest(plan, "search") + after)


def test_with_auto_the_searches_that_would_outlast_the_rest_get_wide_gangs(plan: Plan) -> None:
    """Two searches on sixteen GPUs: each gets the four workers that it may have."""
    found = Simulation(plan, execution(4, "auto"), EXACT).run()
    assert found.makespan == pytest.approx(found.bound)


def test_lost_nodes_cost_time_and_no_unit(plan: Plan) -> None:
    world = World(nodes=2, error=0.0, loss_every=300.0, away=60.0, state_every=30.0)
    found = Simulation(plan, execution(4, "auto"), world).run()
    assert found.losses > 0
    assert found.makespan > found.bound
