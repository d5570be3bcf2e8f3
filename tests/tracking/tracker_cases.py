"""A small finished sweep, and what MLflow holds of it."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tamt_ray.data.history import History, Point
from tamt_ray.data.table import name_of
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import FinetuneConfig, PretrainEvalConfig, Unit
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.tasks.scores import Evaluation, scores_of
from tamt_ray.tracking.tracker import Describe, Tracker
from tamt_ray.values.identity import written

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

YAML = """
name: demo
mlflow: {uri}
models:
  bert: {{source: "hf:bert", head: {{steps: 5}}}}
corpus:
  train: {{source: "hf:wiki", split: train}}
  validation: {{source: "hf:wiki", split: validation}}
methods: [imp, {{method: tamt_kd, steps: 20}}]
sparsities: [0.3]
mask_seeds: [1]
finetune_seeds: [1, 2]
tasks:
  stsb:
    kind: regression
    text: [a, b]
    train: {{source: "hf:glue#stsb", split: train}}
    validation: [{{source: "hf:glue#stsb", split: validation}}]
"""
T0 = 1_700_000_000.25


@dataclass(frozen=True)
class Case:
    """A small sweep, finished in a store; nothing is in MLflow yet."""

    sweep: Sweep
    plan: Plan
    store: Store
    records: dict[str, Record]

    def tracker(self, describe: Describe | None = None) -> Tracker:
        return Tracker(self.sweep, self.plan, self.store, describe)

    def unit(self, **chosen: object) -> Unit:
        return next(
            unit
            for unit in self.plan.units.values()
            if all({"kind": unit.kind, **unit.cell.given}.get(k) == v for k, v in chosen.items())
        )


def make_case(root: Path, uri: str) -> Case:
    sweep = parse_sweep(YAML.format(uri=uri))
    plan = expand(sweep)
    store = Store(str(root / "results"))
    records: dict[str, Record] = {}
    for number, unit in enumerate(plan.units.values()):
        record, artifacts = finish(unit, T0 + 100 * number, number)
        records[unit.id] = store.commit(record, artifacts)
    return Case(sweep, plan, store, records)


def finish(unit: Unit, started: float, number: int) -> tuple[Record, dict[str, bytes]]:
    history = History()
    if unit.kind != "pretrain_eval":
        history.points = [
            Point(step, name, number + step / 64, started + step)
            for step in range(20)
            for name in ("loss", "lr")
        ]
    record = Record(
        id=unit.id, kind=unit.kind, config=written(unit.config), parents=unit.parents,
        metrics=_metrics(unit), sources=_sources(unit, number),
        started=started, seconds=50.5, device="cpu", place="node-1",
        usage={"cpu_seconds": 40.5},
    )  # fmt: skip
    return record, {"history.parquet": history.to_parquet()} if history.points else {}


def _sources(unit: Unit, number: int) -> dict[str, str]:
    """The model and every table that the unit reads, as workers record them."""
    names = ["hf:bert", *(name_of(table) for table in unit.config.tables)]
    return {name: f"{number}{place:063x}"[::-1] for place, name in enumerate(names)}


def _metrics(unit: Unit) -> dict[str, float]:
    match unit.config:
        case PretrainEvalConfig():
            return {"mlm_loss": 3.5, "kd_loss": 0.25}
        case FinetuneConfig():
            return scores(unit, pearson=0.75, spearman=0.5)
        case _:
            return {"zeros": 40.0}


def scores(tuned: Unit, **values: float) -> dict[str, float]:
    """Metrics of a fine-tune with one evaluation."""
    assert isinstance(tuned.config, FinetuneConfig)
    return scores_of([Evaluation(20, values)], tuned.config.task.measured)


def client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs(sweep: Sweep) -> list["Run"]:
    mlflow = client(sweep.mlflow)
    experiment = mlflow.get_experiment_by_name("demo")
    return list(mlflow.search_runs([experiment.experiment_id])) if experiment else []


def content(sweep: Sweep) -> dict[str, object]:
    """All that MLflow holds of the sweep, with run ids replaced by keys; each key occurs once."""
    mlflow = client(sweep.mlflow)
    found = runs(sweep)
    key_of = {run.info.run_id: run.data.tags["tamt.unit"] for run in found}
    twice = [key for key, count in Counter(key_of.values()).items() if count > 1]
    assert not twice, "one run a key"
    result: dict[str, object] = {}
    for run in found:
        tags = dict(run.data.tags)
        parent = tags.pop("mlflow.parentRunId", None)
        # At which of several results a score was shown first depends on the moment.
        scores = {
            name: value
            for name, value in run.data.metrics.items()
            if name.startswith(("score/", "average "))
        }
        points = [
            (point.key, point.step, point.timestamp, point.value)
            for name in run.data.metrics.keys() - scores.keys()
            for point in mlflow.get_metric_history(run.info.run_id, name)
        ]
        result[key_of[run.info.run_id]] = {
            "name": run.info.run_name,
            "parent": key_of[parent] if parent else None,
            "times": (run.info.start_time, run.info.end_time, run.info.status),
            "tags": tags,
            "params": run.data.params,
            "points": sorted(points),
            "scores": scores,
            "inputs": sorted(
                (i.dataset.name, i.dataset.digest, i.tags[0].value)
                for i in run.inputs.dataset_inputs
            ),
        }
    return result


def until(true: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def named(case: Case, name: str) -> "Run":
    return next(run for run in runs(case.sweep) if run.info.run_name == name)
