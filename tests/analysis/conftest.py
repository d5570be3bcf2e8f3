"""Synthetic records: sweeps of any shape whose scores follow a formula the tests know."""

from collections.abc import Callable, Mapping

import pytest

from tamt_ray.plan.expand import Cell, Plan, expand
from tamt_ray.plan.unit import config_dict
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record

Score = Callable[[Mapping[str, str | float | int]], float]

SWEEP = """
name: small
models:
  mini: {source: "dir:models/mini"}
corpus:
  train: {source: "dir:corpus/a.txt"}
  validation: {source: "dir:corpus/b.txt"}
methods: [random, omp, imp, {method: tamt_kd, steps: 40}]
sparsities: [0.5]
mask_seeds: [1, 2]
finetune_seeds: [1, 2]
tasks:
  stsb:
    kind: regression
    train: {source: "dir:stsb/train.csv"}
    validation: [{source: "dir:stsb/dev.csv"}]
    text: [a, b]
  movies:
    kind: classification
    train: {source: "dir:movies/train.csv"}
    validation: [{source: "dir:movies/dev.csv"}]
    text: [text]
"""


@pytest.fixture(scope="session")
def sweep() -> Sweep:
    """Four methods at one sparsity, two masks each, two tasks, two fine-tuning seeds."""
    return parse_sweep(SWEEP)


@pytest.fixture(scope="session")
def plan(sweep: Sweep) -> Plan:
    return expand(sweep)


def _make_record(plan: Plan, cell: Cell, metrics: Mapping[str, float]) -> Record:
    """A record of the unit behind a cell."""
    unit = plan.units[cell.unit]
    return Record(
        id=unit.id,
        kind=unit.kind,
        config=config_dict(unit.config),
        metrics=dict(metrics),
        sources={"dir:models/mini": "sha256:0123abcd"},
        started=1.7e9,
        seconds=2.0,
        device="cpu",
        place="node",
        versions={"torch": "2.13.0"},
    )


BASE = {"full": 0.9, "random": 0.3, "omp": 0.6, "imp": 0.65, "tamt_kd": 0.7}


def _known_score(labels: Mapping[str, str | float | int]) -> float:
    """A fraction that differs in method, task, mask seed and fine-tuning seed."""
    return (
        BASE.get(str(labels["method"]), 0.5)
        - 0.05 * (labels["task"] == "movies")
        + 0.010 * int(labels.get("mask_seed", 1))
        + 0.002 * int(labels["seed"])
    )


def _fill(plan: Plan, score: Score = _known_score) -> dict[str, Record]:
    """A record for every cell: scores by `score`, losses that fall as the base score rises."""
    records: dict[str, Record] = {}
    for cell in plan.cells:
        base = BASE.get(str(cell.labels.get("method")), 0.5)
        seed = int(cell.labels.get("mask_seed", 1))
        match cell.kind:
            case "finetune":
                value = score(cell.labels)
                metrics = {"best": value, "last": value - 0.01, "best_step": 50, "steps": 60,
                           "examples": 500, "accuracy": value}  # fmt: skip
            case "pretrain_eval":
                metrics = {"mlm_loss": 8 - 5 * base + 0.01 * seed, "kd_loss": 0.9 - base}
            case _:
                metrics = {"zeros": 50.0, "weights": 100.0, "sparsity": 0.5, "steps": 40.0,
                           "seconds": 3.5}  # fmt: skip
        records[cell.unit] = _make_record(plan, cell, metrics)
    return records


@pytest.fixture(scope="session")
def all_records(plan: Plan) -> dict[str, Record]:
    return _fill(plan)


@pytest.fixture
def records(all_records: dict[str, Record]) -> dict[str, Record]:
    """A record for every cell of `plan`, for the test to take from."""
    return dict(all_records)


@pytest.fixture
def fill() -> Callable[..., dict[str, Record]]:
    """Records for every cell of a plan, with scores by a function of the labels."""
    return _fill


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """A record for one cell, given its metrics."""
    return _make_record


@pytest.fixture
def known_score() -> Score:
    """The formula of the scores."""
    return _known_score


@pytest.fixture
def sweep_text() -> str:
    """The sweep file behind `sweep`."""
    return SWEEP
