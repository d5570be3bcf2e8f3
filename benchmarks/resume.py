"""How long a finished sweep takes to "nothing to do".

Fakes a finished store of `main_results` through the store's public interface, in a temporary
directory, and times `python -m tamt_ray.sweep` on it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import yaml

from benchmarks.answer import Answer, at_most
from benchmarks.clock import interleave
from benchmarks.grid import MAIN_RESULTS
from tamt_ray.cli.report_mark import OF, report_folder, report_of
from tamt_ray.cli.sweep_context import open_sweep
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import FinetuneConfig, Kind, Unit
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.tasks.scores import Evaluation, scores_of
from tamt_ray.values.identity import written

ROOT = Path(__file__).parents[1]
METRICS: dict[Kind, dict[str, float]] = {
    "head": {},
    "search": {"zeros": 5.0, "weights": 10.0, "sparsity": 0.5, "steps": 0.0, "iterations": 0.0},
    "pretrain_eval": {"mlm_loss": 4.0, "kd_loss": 0.25},
}
ARTIFACTS: dict[Kind, dict[str, bytes]] = {
    "head": {"head.safetensors": bytes(100_000)},
    "search": {"mask.safetensors": bytes(100_000), "history.parquet": bytes(20_000)},
    "pretrain_eval": {},
    "finetune": {"history.parquet": bytes(5_000)},
}


def metrics_of(unit: Unit) -> dict[str, float]:
    """Return the metrics of a unit's record."""
    if not isinstance(unit.config, FinetuneConfig):
        return METRICS[unit.kind]
    measured = unit.config.task.measured
    run = [Evaluation(step, dict.fromkeys(measured, 1 / (1 + step))) for step in (1, 2)]
    return {**scores_of(run, measured), "examples": 9.0}


def finish(store: Store, unit: Unit) -> None:
    """Commit a result of the usual size."""
    record = Record(
        id=unit.id, kind=unit.kind, config=written(unit.config), parents=unit.parents,
        metrics=metrics_of(unit), sources={"hf:model": "0" * 64, "hf:data#train": "1" * 64},
        started=1.7e9, seconds=60.0, device="1 x GPU", place="node-1 pid 1 GPU 0",
        versions={"tamt-ray": "0.1.0", "torch": "2.13.0", "transformers": "5.0.0"},
    )  # fmt: skip
    store.commit(record, ARTIFACTS[unit.kind])


def run() -> Iterator[Answer]:
    """Seconds to look at all records, and of the whole command."""
    with tempfile.TemporaryDirectory(prefix="tamt-resume-") as scratch:
        file = Path(scratch, "sweep.yaml")
        written = yaml.safe_load(MAIN_RESULTS.read_text())
        file.write_text(yaml.safe_dump({**written, "store": f"{scratch}/results"}))
        sweep = load_sweep(file)
        plan, store = expand(sweep), Store(sweep.store)
        # That the fake outlives a power cut is worth no minutes.
        with patch.object(os, "fsync"):
            for unit in plan.units.values():
                finish(store, unit)
            # The report of the run before.
            opened = open_sweep(file)
            store.write(f"{report_folder(opened)}/{OF}", report_of(opened).encode())

        def command() -> None:
            subprocess.run(
                [sys.executable, "-m", "tamt_ray.sweep", str(file)],
                check=True, cwd=scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip

        times = interleave({"scan": lambda: store.scan(plan.units), "command": command}, rounds=3)
    of_it = f"reading the records {times.median('scan'):.1f} s"
    question = f'resume of a finished main_results ({len(plan.units):,} units) to "nothing to do"'
    yield at_most(question, times.median("command"), 5, "s", of_it)
