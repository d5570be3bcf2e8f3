"""Prices by hand: rough ones, and those that finished units correct."""

from dataclasses import dataclass, field

import pytest

from tamt_ray.plan import cost
from tamt_ray.plan.cost import ROUGH, prices, spoken, usual_prices
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.execution import Execution, Growth, SearchLane
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
    usage: dict[str, float] = field(default_factory=dict)


def some(kind: str, **cell: object) -> list[Unit]:
    return [
        unit
        for unit in UNITS.values()
        if unit.kind == kind and cell.items() <= unit.cell.given.items()
    ]


def took(units: list[Unit], *ratios: float, device: str = "1 x A100") -> dict[str, Took]:
    pairs = zip(units, ratios, strict=False)
    return {unit.id: Took(ROUGH.seconds(unit) * ratio, device) for unit, ratio in pairs}


def test_nothing_measured_is_the_rough_price() -> None:
    assert prices(UNITS, {}) == ROUGH
    assert not ROUGH.measured


def test_a_task_is_priced_by_its_own_fine_tunes_then_by_all_then_by_everything() -> None:
    cola, rte = some("finetune", task="cola"), some("finetune", task="rte")
    searches = some("search", method="imp")
    found = prices(UNITS, {**took(cola, 2.0, 3.0, 10.0), **took(searches, 40.0)})
    assert (found.device, found.measured) == ("A100", 4)
    assert found.seconds(cola[3]) == pytest.approx(3.0 * ROUGH.seconds(cola[3])), "the median"
    assert found.seconds(rte[0]) == pytest.approx(3.0 * ROUGH.seconds(rte[0])), "the kind's"
    assert found.seconds(searches[0]) == pytest.approx(40.0 * ROUGH.seconds(searches[0]))
    (evaluation, *_) = some("pretrain_eval")
    assert found.seconds(evaluation) == pytest.approx(6.5 * ROUGH.seconds(evaluation)), (
        "of all four"
    )
    assert [found.is_rough(kind) for kind in ("search", "pretrain_eval", "finetune")] == [
        False, True, False,
    ]  # fmt: skip


def test_units_without_work_say_nothing_about_those_with_work() -> None:
    omp, imp = some("search", method="omp"), some("search", method="imp")
    found = prices(UNITS, took(omp, 40.0))
    assert found.seconds(omp[0]) == pytest.approx(40.0 * ROUGH.seconds(omp[0]))
    assert found.seconds(imp[0]) == ROUGH.seconds(imp[0])
    assert found.is_rough("search")
    found = prices(UNITS, took(imp, 2.0))
    assert found.seconds(omp[0]) == ROUGH.seconds(omp[0])


def test_without_a_gpu_the_price_is_that_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    (search, *_) = some("search", method="imp")
    here = Execution()
    monkeypatch.setattr(cost, "_has_gpu", lambda: False)
    monkeypatch.setattr(cost, "_cpu_speed", lambda: 40e9)
    on_cpu = usual_prices(here)
    assert 1000 < (on_cpu.seconds(search) - 1) / (ROUGH.seconds(search) - 1) < 2000
    assert on_cpu.device == "CPU worker"
    gang = SearchLane(gpus=1)
    growth = (Growth(nodes=4, cpus=8, gpus=1),)
    for on_gpu in (
        usual_prices(here, gpus=True), usual_prices(Execution(search=gang)),
        usual_prices(Execution(growth=growth)),
    ):  # fmt: skip
        assert on_gpu == ROUGH
    monkeypatch.setattr(cost, "_has_gpu", lambda: True)
    assert usual_prices(here) == ROUGH


def test_bfloat16_is_twice_as_fast_where_the_cpu_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost, "_has_gpu", lambda: False)
    text = SWEEP.replace("epochs: 9", "epochs: 9, precision: bfloat16")
    text = text.replace('"dir:m"', '"dir:m", head: {steps: 5}')
    mixed = expand(parse_sweep(text + "search: {precision: bfloat16}\n")).units.values()

    def work(gain: bool) -> list[float]:
        monkeypatch.setattr(cost, "_multiplies_bfloat16", lambda: gain)
        usual = usual_prices(Execution())
        return [usual.seconds(unit) - 1 for unit in mixed]

    for unit, without, gained in zip(mixed, work(False), work(True), strict=True):
        rounded = unit.cell.method in {"imp", "tamt_kd"} and unit.kind == "search"
        rounded |= unit.cell.task == "rte"
        assert gained == pytest.approx(without / 2 if rounded else without), unit


def test_the_speed_of_this_machine_is_measured() -> None:
    """A matrix product of a computer of this century."""
    assert 1e8 < cost._cpu_speed() < 1e13


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 seconds"), (1, "1 second"), (40, "40 seconds"), (61, "1 minute"),
        (360, "6 minutes"), (3599.8, "1.0 hour"), (17280, "4.8 hours"), (36000, "10 hours"),
        (3 * 86400, "3.0 days"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_a_gang_of_four_took_four_times_its_wall_time() -> None:
    imp = some("search", method="imp")
    found = prices(UNITS, took(imp, 0.5, device="4 x A100"))
    assert found.device == "A100"
    assert found.seconds(imp[1]) == pytest.approx(2.0 * ROUGH.seconds(imp[1]))


def test_only_the_device_most_units_ran_on_counts() -> None:
    cola = some("finetune", task="cola")
    slow, quick = took(cola[:1], 300.0, device="1 x CPU"), took(cola[1:], 0.5, 0.5)
    found = prices(UNITS, {**slow, **quick})
    assert (found.device, found.measured) == ("A100", 2)
    assert found.seconds(cola[0]) == pytest.approx(0.5 * ROUGH.seconds(cola[0]))


def test_results_of_other_sweeps_and_strange_devices_are_no_hindrance() -> None:
    cola = some("finetune", task="cola")
    found = prices(UNITS, {"0" * 64: Took(9.0), **took(cola, 2.0, device="cpu")})
    assert (found.device, found.measured) == ("cpu", 1)
    assert found.seconds(cola[1]) == pytest.approx(2.0 * ROUGH.seconds(cola[1]))


@pytest.mark.parametrize("device", ["1 x CPU x86_64, 2 threads", "1 x A100"])
def test_other_work_on_a_machine_raises_the_wall_time_and_no_price_of_a_cpu(device: str) -> None:
    """Each took 3 CPU seconds: the least disturbed, on two threads, 2 s of wall time."""
    cola = some("finetune", task="cola")
    took = {
        unit.id: Took(seconds, device, {"cpu_seconds": 3.0})
        for unit, seconds in zip(cola, (2.0, 9.0, 30.0), strict=False)
    }
    found = prices(UNITS, took)
    assert found.seconds(cola[3]) == pytest.approx(2.0 if "CPU" in device else 9.0)


def test_cpu_seconds_of_one_worker_stand_for_its_gang() -> None:
    imp = some("search", method="imp")
    took = {imp[0].id: Took(5.0, "4 x CPU x86_64, 1 threads", {"cpu_seconds": 4.0})}
    assert prices(UNITS, took).seconds(imp[0]) == pytest.approx(20.0)
