"""Synthetic records: sweeps of any shape whose scores follow a formula the tests know."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from tamt_ray.methods.base import Search
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Cell, FinetuneConfig, PretrainEvalConfig
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.scores import Evaluation, scores_of
from tamt_ray.values.identity import written

Score = Callable[[Cell], float]

SWEEP = """
name: small
models:
  mini: {source: "dir:models/mini", role: bert}
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


def _make_record(plan: Plan, unit_id: str, metrics: Mapping[str, float]) -> Record:
    unit = plan.units[unit_id]
    return Record(
        id=unit.id,
        kind=unit.kind,
        config=written(unit.config),
        metrics=dict(metrics),
        sources={"dir:models/mini": "sha256:0123abcd"},
        started=1.7e9,
        seconds=2.0,
        device="cpu",
        place="node",
        versions={"torch": "2.13.0"},
    )


def _scores(task: Task, value: float) -> dict[str, float]:
    """Metrics of a fine-tune whose every score was `value` at step 50 and fell by .01 to 60."""
    evaluations = [
        Evaluation(step, dict.fromkeys(task.measured, score))
        for step, score in ((50, value), (60, value - 0.01))
    ]
    return {**scores_of(evaluations, task.measured), "examples": 500.0}


BASE = {"full": 0.9, "random": 0.3, "omp": 0.6, "imp": 0.65, "tamt_kd": 0.7}


def _known_score(cell: Cell) -> float:
    """A fraction that differs in method, task, mask seed and fine-tuning seed."""
    return (
        BASE.get(cell.method, 0.5)
        - 0.05 * (cell.task == "movies")
        + 0.010 * (cell.mask_seed or 1)
        + 0.002 * (cell.seed or 0)
    )


def _filled(plan: Plan) -> Iterator[tuple[Cell, str]]:
    """Every cell of the grid, and the unit that fills it."""
    return (each for cells in plan.cells.values() for each in cells.items())


def _fill(plan: Plan, score: Score = _known_score) -> dict[str, Record]:
    """A record for every cell: scores by `score`, losses that fall as the base score rises."""
    records: dict[str, Record] = {}
    for cell, unit in _filled(plan):
        base = BASE.get(cell.method, 0.5)
        seed = cell.mask_seed or 1
        match plan.units[unit].config:
            case FinetuneConfig(task=task):
                metrics = _scores(task, score(cell))
            case PretrainEvalConfig():
                metrics = {"mlm_loss": 8 - 5 * base + 0.01 * seed, "kd_loss": 0.9 - base}
            case _:
                metrics = {"zeros": 50.0, "weights": 100.0, "sparsity": 0.5, "steps": 40.0,
                           "seconds": 3.5}  # fmt: skip
        records[unit] = _make_record(plan, unit, metrics)
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
    """Records for every cell of a plan, with scores by a function of the cell."""
    return _fill


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """A record for one unit, given its metrics."""
    return _make_record


@pytest.fixture
def known_score() -> Score:
    """The formula of the scores."""
    return _known_score


@pytest.fixture
def sweep_text() -> str:
    """The sweep file behind `sweep`."""
    return SWEEP


GRID = """
name: grid
models:
{models}
corpus:
  train: {{source: "dir:corpus/a.txt"}}
  validation: {{source: "dir:corpus/b.txt"}}
methods:
  - random
  - omp
  - {{method: imp, intervals: [{intervals}]}}
  - {{method: tamt_mlm, checkpoints: [{checkpoints}]}}
  - {{method: tamt_kd, checkpoints: [{checkpoints}]}}
  - tamt_mlm_kd
  - {{method: tamt_kd, name: kd_from_random, init: random, checkpoints: [{checkpoints}]}}
sparsities: [{sparsities}]
mask_seeds: [1, 2, 3]
finetune_seeds: [1, 2, 3]
tasks:
{tasks}
"""


def _grid_text(
    models: Sequence[str] = ("bert",),
    tasks: Sequence[str] = ("cola", "sst2", "mnli", "stsb", "squad"),
    sparsities: Sequence[float] = (0.6, 0.7, 0.8),
    checkpoints: Sequence[int] = (1000, 5000),
    intervals: Sequence[int] = (500,),
    reduced: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """A sweep file in the paper's shape, as large as asked for."""
    lines = []
    for task in tasks:
        sizes = (reduced or {}).get(task, ())
        body = (
            f'train: {{source: "dir:{task}/a.csv"}}, validation: [{{source: "dir:{task}/b.csv"}}]'
        )
        body += f", reduced: {{{', '.join(f'{size}: 3' for size in sizes)}}}" if sizes else ""
        form = "kind: spans" if task == "squad" else "kind: classification, text: [text]"
        body += f", role: {task}"
        lines.append(f"  {task}: {{{form}, {body}}}")
    return GRID.format(
        models="\n".join(
            f'  {name}: {{source: "dir:models/{name}", role: {name}}}' for name in models
        ),
        tasks="\n".join(lines),
        sparsities=", ".join(map(str, sparsities)),
        checkpoints=", ".join(map(str, checkpoints)),
        intervals=", ".join(map(str, intervals)),
    )


_GAIN = {"imp": 0.35, "tamt_mlm": 0.62, "tamt_kd": 0.58, "tamt_mlm_kd": 0.65,
         "kd_from_random": 0.5}  # fmt: skip


def _fill_grid(plan: Plan) -> dict[str, Record]:
    """A record for every cell, like the paper's in shape: scores fall with sparsity, searching
    longer wins back a part that depends on the method, and losses follow, with some noise."""
    records: dict[str, Record] = {}
    for cell, unit in _filled(plan):
        config = plan.units[unit].config
        noise = random.Random(unit).gauss
        search = config if config.kind == "search" else None
        if isinstance(config, FinetuneConfig | PretrainEvalConfig) and config.mask:
            search = plan.units[config.mask].config
        iterations = (search.iterations if isinstance(search, Search) else 0) or 0
        method, sparsity = cell.method, cell.sparsity
        fragile = 2.0 if cell.model == "roberta" else 3.0
        lost = min(1.0, 1.4 * sparsity**fragile)
        gain = _GAIN.get(method, 0.0) * (1 - math.exp(-iterations / 4000))
        quality = 0.0 if method == "random" else 1 - lost * (1 - gain)
        slow = {"imp": 1.3, "tamt_kd": 1.6}.get(method, 1.5)
        match config:
            case FinetuneConfig():
                hard = {"cola": 0.5, "stsb": 0.8, "squad": 0.85}.get(cell.task, 0.88)
                size = cell.train_size or 400_000
                value = hard * (0.35 + 0.65 * quality) * (1 - 0.3 * (5e3 / (size + 5e3)))
                value += noise(0, 0.006)
                metrics = _scores(config.task, value)
            case PretrainEvalConfig():
                kd = 0.7 * (1 - quality) * (0.6 if "kd" in method else 1.0)
                mlm = 2.1 + 6.5 * (1 - quality) * (0.7 if "mlm" in method else 1.0)
                metrics = {"mlm_loss": mlm + noise(0, 0.05), "kd_loss": kd + abs(noise(0, 0.005))}
                if method == "full":
                    metrics = {"mlm_loss": 2.14, "kd_loss": 0.0}
            case _:
                metrics = {"zeros": 1000 * sparsity, "weights": 1000.0, "sparsity": sparsity,
                           "steps": float(iterations), "iterations": float(iterations),
                           "search_seconds": iterations * slow * 0.1}  # fmt: skip
        record = _make_record(plan, unit, metrics)
        records[unit] = record.model_copy(update={"device": "NVIDIA A100"})
    return records


@pytest.fixture(scope="session")
def grid_text() -> Callable[..., str]:
    """A sweep file in the paper's shape: three sparsities, masks of several search lengths."""
    return _grid_text


@pytest.fixture(scope="session")
def fill_grid() -> Callable[[Plan], dict[str, Record]]:
    """Records for every cell of a plan, like the paper's in shape."""
    return _fill_grid
