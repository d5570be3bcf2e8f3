"""One sweep's results told to MLflow by its tracker; as a program, one of several at a time."""

import sys
from pathlib import Path

from tamt_ray.data.history import History, Point
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.tracking.tracker import Tracker
from tamt_ray.values.identity import written

YAML = """
name: sweep-{number}
mlflow: {uri}
models:
  bert: {{source: "hf:bert", head: {{steps: 5}}}}
corpus:
  train: {{source: "hf:wiki", split: train}}
  validation: {{source: "hf:wiki", split: validation}}
methods: [{{method: tamt_kd, steps: 20}}]
sparsities: [0.3, 0.5]
mask_seeds: [1, 2]
finetune_seeds: [1, 2]
tasks:
  stsb:
    kind: regression
    text: [a, b]
    train: {{source: "hf:glue#stsb", split: train}}
    validation: [{{source: "hf:glue#stsb", split: validation}}]
"""
STEPS = 30
T0 = 1_700_000_000.25


def sweep_of(number: int, uri: str) -> tuple[Sweep, Plan]:
    """A sweep that is like the others but for its name."""
    sweep = parse_sweep(YAML.format(number=number, uri=uri))
    return sweep, expand(sweep)


def results_of(plan: Plan) -> list[tuple[Record, list[Point]]]:
    """What each unit came to, with its curve."""
    found: list[tuple[Record, list[Point]]] = []
    for place, unit in enumerate(plan.units.values()):
        started = T0 + 100 * place
        curve = [
            Point(step, name, place + step / 64, started + step)
            for step in range(STEPS)
            for name in ("loss", "lr")
        ]
        record = Record(
            id=unit.id, kind=unit.kind, config=written(unit.config), parents=unit.parents,
            metrics={"a": 0.5 + place, "b": 0.25}, sources={}, started=started, seconds=50.0,
            device="cpu", place="node-1",
        )  # fmt: skip
        found.append((record, [] if unit.kind == "pretrain_eval" else curve))
    return found


def main(number: int, uri: str, folder: Path) -> int:
    """How many results MLflow has not got."""
    sweep, plan = sweep_of(number, uri)
    store = Store(str(folder / "results"))
    tracker = Tracker(sweep, plan, store)
    tracker.start()
    for record, curve in results_of(plan):
        history = History()
        history.points = curve
        artifacts = {"history.parquet": history.to_parquet()} if curve else {}
        tracker.landed(store.commit(record, artifacts))
    return tracker.close(400)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
