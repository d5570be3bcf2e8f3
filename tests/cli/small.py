"""A small sweep whose results are faked, and the verbs as a person calls them."""

import torch
from click.testing import Result
from typer.testing import CliRunner

from tamt_ray.cli.app import app
from tamt_ray.masks.file import mask_to_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.status import unit_path
from tamt_ray.plan.unit import Unit
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.tasks.metrics.base import metrics_of
from tamt_ray.tasks.scores import Evaluation, scores_of
from tamt_ray.values.identity import written

SWEEP = """\
name: small
store: {store}
mlflow: sqlite:///{store}/mlflow.db
models: {{mini: {{source: "dir:m"}}}}
corpus: {{train: {{source: "dir:a.txt"}}, validation: {{source: "dir:b.txt"}}}}
methods: [random, omp]
sparsities: [0.5]
mask_seeds: [1, 2]
finetune_seeds: [1]
tasks:
  stsb:
    kind: regression
    train: {{source: "dir:s.csv"}}
    validation: [{{source: "dir:t.csv"}}]
    text: [a, b]
"""
METRICS = {
    "search": {"zeros": 5.0, "weights": 10.0, "sparsity": 0.5, "steps": 0.0, "seconds": 0.1},
    "pretrain_eval": {"mlm_loss": 4.0, "kd_loss": 0.25},
    "finetune": {
        **scores_of(
            [
                Evaluation(1, {"pearson": 0.75, "spearman": 0.25}),
                Evaluation(2, {"pearson": 0.5, "spearman": 0.3}),
            ],
            metrics_of("numbers"),
        ),
        "examples": 9,
    },
}
MASK = mask_to_bytes(Mask({"w": torch.eye(4, 5, dtype=torch.bool)}))


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def by_path(plan: Plan, path: str) -> Unit:
    (unit,) = (unit for unit in plan.units.values() if unit_path(unit) == path)
    return unit


def finish(store: Store, *units: Unit, metrics: dict[str, float] | None = None) -> None:
    for unit in units:
        record = Record(
            id=unit.id, kind=unit.kind, config=written(unit.config), parents=unit.parents,
            metrics=metrics or METRICS[unit.kind], started=1.7e9, seconds=1.0, device="cpu",
            place="here",
        )  # fmt: skip
        store.commit(record, {"mask.safetensors": MASK} if unit.kind == "search" else {})
