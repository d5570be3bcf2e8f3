"""Prices by hand: rough ones, and those that finished units correct."""

from dataclasses import dataclass

import pytest

from tamt_ray.plan.cost import ROUGH, gpu_seconds, prices
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.load import parse_sweep

SWEEP = """
name: small
models: {mini: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [omp, {method: imp, steps: 5}, {method: tamt_kd, steps: 40}]
sparsities: [0.2]
mask_seeds: [1, 2]
finetune_seeds: [1]
tasks:
  cola: {kind: regression, train: {source: "dir:s.csv"}, validation: [{source: "dir:t.csv"}],
         text: [a]}
  rte: {kind: regression, train: {source: "dir:u.csv"}, validation: [{source: "dir:v.csv"}],
        text: [a, b], epochs: 9}
"""
UNITS = expand(parse_sweep(SWEEP)).units


@dataclass
class Took:
    seconds: float
    device: str = "1 x A100"


def some(kind: str, **cell: object) -> list[Unit]:
    return [
        unit
        for unit in UNITS.values()
        if unit.kind == kind and cell.items() <= unit.cell.given.items()
    ]


def took(units: list[Unit], *ratios: float, device: str = "1 x A100") -> dict[str, Took]:
    pairs = zip(units, ratios, strict=False)
    return {unit.id: Took(gpu_seconds(unit) * ratio, device) for unit, ratio in pairs}


def test_nothing_measured_is_the_rough_price() -> None:
    assert prices(UNITS, {}) == ROUGH
    assert not ROUGH.measured
    assert all(ROUGH.seconds(unit) == gpu_seconds(unit) for unit in UNITS.values())


def test_a_task_is_priced_by_its_own_fine_tunes_then_by_all_then_by_everything() -> None:
    cola, rte = some("finetune", task="cola"), some("finetune", task="rte")
    searches = some("search", method="omp")
    found = prices(UNITS, {**took(cola, 2.0, 3.0, 10.0), **took(searches, 40.0)})
    assert (found.device, found.measured) == ("A100", 4)
    assert found.seconds(cola[3]) == pytest.approx(3.0 * gpu_seconds(cola[3])), "the median"
    assert found.seconds(rte[0]) == pytest.approx(3.0 * gpu_seconds(rte[0])), "the kind's"
    assert found.seconds(searches[0]) == pytest.approx(40.0 * gpu_seconds(searches[0]))
    (evaluation, *_) = some("pretrain_eval")
    assert found.seconds(evaluation) == pytest.approx(6.5 * gpu_seconds(evaluation)), "of all four"


def test_a_gang_of_four_took_four_times_its_wall_time() -> None:
    imp = some("search", method="imp")
    found = prices(UNITS, took(imp, 0.5, device="4 x A100"))
    assert found.device == "A100"
    assert found.seconds(imp[1]) == pytest.approx(2.0 * gpu_seconds(imp[1]))


def test_only_the_device_most_units_ran_on_counts() -> None:
    cola = some("finetune", task="cola")
    slow, quick = took(cola[:1], 300.0, device="1 x CPU"), took(cola[1:], 0.5, 0.5)
    found = prices(UNITS, {**slow, **quick})
    assert (found.device, found.measured) == ("A100", 2)
    assert found.seconds(cola[0]) == pytest.approx(0.5 * gpu_seconds(cola[0]))


def test_results_of_other_sweeps_and_strange_devices_are_no_hindrance() -> None:
    cola = some("finetune", task="cola")
    found = prices(UNITS, {"0" * 64: Took(9.0), **took(cola, 2.0, device="cpu")})
    assert (found.device, found.measured) == ("cpu", 1)
    assert found.seconds(cola[1]) == pytest.approx(2.0 * gpu_seconds(cola[1]))
