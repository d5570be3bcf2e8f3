"""What a plan says it costs: on which device, in dollars, and by what other sweeps measured."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tamt_ray.cli.sweep_context import open_sweep
from tamt_ray.plan.cost import spoken
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.store import Store

from .small import SWEEP, call, finish


@pytest.mark.parametrize("gpu", [True, False])
def test_json_prices_the_device_that_the_text_names(
    gpu: bool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tamt_ray.plan.cost._has_gpu", lambda: gpu)
    opened = open_sweep(file)
    prices = opened.prices()
    body = json.loads(call("plan", file, "--json").stdout)
    assert body["device"] == prices.device == ("GPU" if gpu else "CPU worker")
    assert f"left on one {body['device']}" in call("plan", file).stdout
    hours = sum(prices.seconds(opened.plan.units[unit]) for unit in opened.to_run) / 3600
    assert body["gpu_hours"] == pytest.approx(hours, abs=0.006)


def test_dollars_are_hours_times_their_price(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamt_ray.plan.cost._has_gpu", lambda: True)
    opened = open_sweep(file)
    hours = sum(opened.prices().seconds(opened.plan.units[unit]) for unit in opened.to_run) / 3600
    said = call("plan", file, "--set", "execution.price=1234").stdout
    assert f", {hours * 1234:,.2f} dollars (rough: none measured yet)" in said
    assert hours * 1234 > 1
    assert " dollars" not in call("plan", file).stdout


def test_the_plan_names_the_method_that_costs_the_hours(file: Path, store: Store) -> None:
    """A list takes the place of the extended file's, with the steps that were given there."""
    text = file.read_text().replace("[random, omp]", "[{method: tamt_kd, steps: 30}]")
    file.write_text(text.replace("[0.5]", "[0.5, 0.7]"))
    other = file.with_name("other.yaml")
    short = "{method: tamt_kd, name: short, init: graded, steps: {0.5: 30, 0.7: 40}}"
    other.write_text(f"extends: small.yaml\nname: other\nmethods: [omp, {short}, tamt_kd]\n")

    def rows() -> list[list[str]]:
        table = call("plan", other).stdout.split("\n\n")[1]
        return [re.split(r"  +", line.strip()) for line in table.splitlines()[1:]]

    found = rows()
    assert [row[:3] for row in found[:2]] == [
        ["tamt_kd", "12", "11,000–17,000 (default)"], ["short", "12", "30–40"],
    ]  # fmt: skip
    assert {row[0]: row[1:4] for row in found[2:]} == {
        "omp": ["6", "–", "2 seconds"], "full": ["2", "–", "–"],
    }  # fmt: skip
    opened = open_sweep(other)
    units, known = opened.plan.units.values(), opened.prices()
    mine = [known.seconds(unit) for unit in units if unit.cell.method == "tamt_kd"]
    assert found[0][4] == spoken(sum(mine))
    finish(store, *(unit for unit in units if unit.cell.method in ("tamt_kd", "full")))
    assert [row[0] for row in rows()] == ["short", "omp"]
    finish(store, *units)
    assert "steps" not in call("plan", other).stdout
    assert "steps per search" not in call("status", file).stdout


def test_many_devices_are_as_quick_as_the_longest_chain(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches wait for nothing, an evaluation or a fine-tune for its search."""
    monkeypatch.setattr("tamt_ray.plan.cost._has_gpu", lambda: True)
    monkeypatch.setattr(
        "tamt_ray.plan.cost.Prices.seconds", lambda _prices, unit: seconds[unit.kind]
    )
    seconds = {"search": 3600.0, "finetune": 7200.0, "pretrain_eval": 60.0}
    kinds = [unit.kind for unit in open_sweep(file).plan.units.values()]
    hours = sum(seconds[kind] for kind in kinds) / 3600
    said = call("plan", file).stdout
    assert "left on one GPU, at least 3.0 hours on any number of them (rough" in said
    assert f"{hours:,.1f} GPU hours; set `execution.price` to the price of one" in said

    def grown(nodes: int) -> str:
        more = f"execution.growth=[{{nodes: {nodes}, cpus: 8, gpus: 1}}]"
        return call("plan", file, "--set", more, "--set", "execution.price=1").stdout

    assert f", {spoken(hours / 2 * 3600)} on the 2 of `execution.growth`, " in grown(2)
    assert ", 3.0 hours on the 64 of `execution.growth`, " in grown(64)
    assert "GPU hours" not in grown(64)


def test_units_of_other_sweeps_in_the_store_set_prices(
    file: Path, plan: Plan, store: Store
) -> None:
    text = SWEEP.format(store=store.uri).replace("[0.5]", "[0.7]").replace("name: small", "name: b")
    others = [
        unit for unit in expand(parse_sweep(text)).units.values() if unit.id not in plan.units
    ]
    finish(store, *others)
    opened = open_sweep(file)
    found = {record.id for record in opened.store.others(opened.others)}
    assert found == {unit.id for unit in others}
    assert len(opened.store.others(opened.others, most=3)) == 3
    prices = opened.prices()
    assert (prices.measured, prices.device) == (len(others), "cpu")
    finetune = next(unit for unit in plan.units.values() if unit.kind == "finetune")
    assert prices.seconds(finetune) == pytest.approx(1.0), "each of the others took one second"


def test_a_method_that_is_not_installed_sets_no_price(file: Path, plan: Plan, store: Store) -> None:
    other = parse_sweep(SWEEP.format(store=store.uri).replace("[0.5]", "[0.7]"))
    (search, *_) = (u for u in expand(other).units.values() if u.kind == "search")
    finish(store, search)
    path = Path(store.uri) / "units" / "search" / search.id / "record.json"
    assert '"random"' in path.read_text()
    opened = open_sweep(file)
    assert opened.prices().measured == 1
    foreign = [
        record.model_copy(update={"config": {**record.config, "method": "elsewhere"}})
        for record in opened.store.others(opened.others)
    ]
    store_of_others = type("Others", (), {"others": lambda _self, _paths: foreign})()
    assert replace(opened, store=store_of_others).prices().measured == 0
