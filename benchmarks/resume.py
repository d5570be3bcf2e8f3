"""How long a finished sweep takes to "nothing to do".

    python benchmarks/resume.py [SWEEP.yaml]

Fakes a finished store of the sweep (`sweeps/main_results.yaml` unless another is named) through the
store's public interface, in a temporary directory, and times `python -m tamt_ray.sweep` on it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Kind, Unit, config_dict
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store

ROOT = Path(__file__).parents[1]
METRICS: dict[Kind, dict[str, float]] = {
    "head": {},
    "search": {"zeros": 5.0, "weights": 10.0, "sparsity": 0.5, "steps": 0.0, "iterations": 0.0},
    "pretrain_eval": {"mlm_loss": 4.0, "kd_loss": 0.25},
    "finetune": {"best": 0.75, "last": 0.5, "best_step": 1, "steps": 2, "examples": 9},
}
ARTIFACTS: dict[Kind, dict[str, bytes]] = {
    "head": {"head.safetensors": bytes(100_000)},
    "search": {"mask.safetensors": bytes(100_000), "history.parquet": bytes(20_000)},
    "pretrain_eval": {},
    "finetune": {"history.parquet": bytes(5_000)},
}


def finish(store: Store, unit: Unit) -> None:
    """Commit a result of the usual size."""
    record = Record(
        id=unit.id, kind=unit.kind, config=config_dict(unit.config), parents=unit.parents,
        metrics=METRICS[unit.kind], sources={"hf:model": "0" * 64, "hf:data#train": "1" * 64},
        started=1.7e9, seconds=60.0, device="1 x GPU", place="node-1 pid 1 GPU 0",
        versions={"tamt-ray": "0.1.0", "torch": "2.13.0", "transformers": "5.0.0"},
    )  # fmt: skip
    store.commit(record, ARTIFACTS[unit.kind])


def main(sweep_file: Path) -> None:
    """Print seconds, one line each."""
    with tempfile.TemporaryDirectory(prefix="tamt-resume-") as scratch:
        os.chdir(scratch)
        written = yaml.safe_load(sweep_file.read_text())
        file = Path(scratch, "sweep.yaml")
        file.write_text(yaml.safe_dump({**written, "store": f"{scratch}/results"}))
        sweep = load_sweep(file)
        plan, store = expand(sweep), Store(sweep.store)
        begin = time.perf_counter()
        for unit in plan.units.values():
            finish(store, unit)
        store.write(f"reports/{sweep.name}/report.html", b"written by the run before")
        show(f"{len(plan.units)} results faked", begin)
        begin = time.perf_counter()
        found = store.look(plan.units)
        show(f"{len(found.records)} records looked at", begin)
        for _ in range(3):
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "tamt_ray.sweep", str(file)],
                check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            show('to "nothing to do"', begin)


def show(words: str, begin: float) -> None:
    """One line: what, and the seconds since `begin`."""
    sys.stdout.write(f"{time.perf_counter() - begin:8.2f} s  {words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    named = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "sweeps" / "main_results.yaml")
    main(Path(named).absolute())
