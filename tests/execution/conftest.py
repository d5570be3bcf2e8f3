"""A whole sweep in files: tiny model, letters for text, seconds of work."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.chaos import Process, processes
from tamt_ray.execution.scheduler import actor as board_actor


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole sweeps that are killed again and again take longer than other tests; with `-n` one
    process starts all of Ray."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("ray"))
        if item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.timeout(1800))


LETTERS = "abcdefghijklmnopqrst"


def _rows(count: int, seed: int) -> str:
    """JSON lines: the label says whether `good` or `bad` stands among letters."""
    draw = random.Random(seed)
    lines: list[str] = []
    for _ in range(count):
        label = draw.randrange(2)
        words = [*draw.choices(LETTERS, k=draw.randint(2, 8)), ("bad", "good")[label]]
        draw.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "label": label}))
    return "\n".join(lines) + "\n"


@pytest.fixture
def toy(tmp_path: Path, model_dir: Path) -> dict[str, object]:
    """A sweep over all six methods at 50 %, as the mapping of its YAML file."""
    draw = random.Random(0)
    for part, count in (("train", 200), ("validation", 40)):
        lines = (" ".join(draw.choices(LETTERS, k=20)) for _ in range(count))
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / f"{part}.jsonl").write_text(_rows(count, seed=len(part)))
    return {
        "name": "toy",
        "store": str(tmp_path / "results"),
        "mlflow": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "models": {"tiny": {"source": f"dir:{model_dir}"}},
        "corpus": {
            "train": {"source": f"dir:{tmp_path / 'train.txt'}"},
            "validation": {"source": f"dir:{tmp_path / 'validation.txt'}"},
            "block_size": 16,
        },
        "search": {"batch_size": 4, "micro_batch": 2, "decay_steps": 20, "log_every": 2},
        "methods": [
            "random", "omp", {"method": "imp", "step": 0.25, "steps": 4},
            {"method": "tamt_mlm", "steps": 6, "lr": 5e-3},
            {"method": "tamt_kd", "steps": 6, "lr": 5e-3},
            {"method": "tamt_mlm_kd", "steps": 6, "lr": 5e-3},
        ],
        "sparsities": [0.5],
        "mask_seeds": [1],
        "finetune_seeds": [1],
        "tasks": {
            "words": {
                "kind": "classification", "text": ["text"], "epochs": 2, "lr": 2e-3,
                "train": {"source": f"dir:{tmp_path / 'train.jsonl'}"},
                "validation": [{"source": f"dir:{tmp_path / 'validation.jsonl'}"}],
            }
        },
    }  # fmt: skip


INJECTION = """
# Imported by every Python that starts. A fault is a file: what happens to which unit, how often.
import importlib.abc, importlib.machinery, json, os, signal, sys, time
from pathlib import Path

HERE = Path(__file__).parent


unit = None


def strike(rank, step):
    for path in sorted(HERE.glob("*.json")):
        fault = json.loads(path.read_text())
        if (fault["rank"], fault["step"]) != (rank, step):
            continue
        cell = unit.cell.given if unit else {}
        if fault["unit"].items() - cell.items():
            continue
        marks = len(list(HERE.glob(f"{path.stem}.mark-*")))
        if marks >= fault["times"]:
            continue
        import ray, torch
        has = ray.get_runtime_context().get_assigned_resources()
        mark = HERE / f"{path.stem}.mark-{marks}"
        token = len(os.environ.get("HF_TOKEN", ""))
        kind = unit.kind if unit else None
        mark.write_text(json.dumps({"pid": os.getpid(), "has": has, "kind": kind, "token": token}))
        print("about to", fault["act"], flush=True)
        match fault["act"]:
            case "nothing":
                pass
            case "crash":
                os._exit(1)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "sleep":
                time.sleep(1e6)
            case "allocate":
                taken = []
                while len(taken) < fault["gib"]:
                    taken.append(b"x" * (1 << 30))
                    time.sleep(0.2)
                time.sleep(30)
            case "memory":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            case "diverge":
                from tamt_ray.data.history import NonFiniteLossError
                raise NonFiniteLossError(3, float("nan"))


def at_the_beginning(module):
    perform = module.UnitRunner.perform

    def struck(self, given, *rest, **more):
        global unit
        unit = given
        strike(self._group.rank, None)
        return perform(self, given, *rest, **more)

    module.UnitRunner.perform = struck


def at_a_step(module):
    backward = module.Engine._backward

    def struck(self, *rest):
        strike(self._group.rank, self.step)
        return backward(self, *rest)

    module.Engine._backward = struck


PATCHES = {
    "tamt_ray.execution.worker.unit_runner": at_the_beginning,
    "tamt_ray.search.engine": at_a_step,
}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        plain = spec.loader.exec_module

        def exec_module(module):
            plain(module)
            PATCHES[name](module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


class Faults:
    """Real faults within workers, of processes that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(INJECTION)

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": os.pathsep.join([str(self._folder), *sys.path[1:]])}

    def inject(
        self, act: str, times: int = 1, rank: int = 0, step: int | None = None, gib: int = 0,
        **cell: object,
    ) -> str:  # fmt: skip
        """Have every worker of that rank do so, when it begins a unit of this cell, or after
        so many of its steps. `gib` is what "allocate" takes and then holds for half a minute."""
        name = f"{act}-{len(list(self._folder.glob('*.json')))}"
        fault = {"act": act, "times": times, "rank": rank, "step": step, "unit": cell, "gib": gib}
        (self._folder / f"{name}.json").write_text(json.dumps(fault))
        return name

    def struck(self, name: str) -> list[dict[str, Any]]:
        """Process and resources of each worker that a fault struck."""
        marks = sorted(self._folder.glob(f"{name}.mark-*"))
        return [json.loads(mark.read_text()) for mark in marks]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path / "faults")


class Driver:
    """A sweep running in a process of its own."""

    def __init__(
        self, folder: Path, sweep: dict[str, object], options: tuple[str, ...], number: int
    ) -> None:
        path = folder / "sweep.yaml"
        path.write_text(yaml.safe_dump(sweep))
        self._said = folder / f"said-{number}.txt"
        self._folder = folder
        self._options = options
        self.store = Path(str(sweep["store"]))

    def start(self, environment: dict[str, str]) -> "Driver":
        command = [sys.executable, "-m", "tamt_ray.sweep", "sweep.yaml", *self._options]
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                command, stdout=said, stderr=said, cwd=self._folder, env=environment
            )
        return self

    @property
    def pid(self) -> int:
        """The driver's own; the process that was started is its supervisor."""
        return next(p.pid for p in processes(self.process.pid) if p.kind == "driver")

    @property
    def said(self) -> str:
        return self._said.read_text()

    def wait_for(self, happened: Callable[[], object], seconds: float = 600) -> None:
        """Raises AssertionError with what the driver said where it never happens."""
        until = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.05)

    def end(self, seconds: float = 600) -> int:
        return self.process.wait(seconds)

    def gone(self, below: list[Process]) -> None:
        """Raises AssertionError where one of these processes outlives the driver."""
        until = time.monotonic() + 60
        while left := [p for p in below if running(p.pid)]:
            assert time.monotonic() < until, left
            time.sleep(0.05)


def running(pid: int) -> bool:
    """Whether a process is there and not only waits to be buried."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


StartDriver = Callable[..., Driver]


@pytest.fixture
def start_driver(tmp_path: Path) -> Iterator[StartDriver]:
    """Starts `python -m tamt_ray.sweep` and leaves it running."""
    drivers: list[Driver] = []

    def start(sweep: dict[str, object], *options: str, **environment: str) -> Driver:
        driver = Driver(tmp_path, sweep, options, len(drivers))
        driver.start({**_clean(tmp_path), **environment})
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        driver.process.kill()
        driver.process.wait()


def _clean(folder: Path) -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TAMT_", "RAY_"))},
        "TAMT_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }


Tamt = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tamt(tmp_path: Path) -> Tamt:
    """Runs `python -m tamt_ray.sweep` on a sweep given as a mapping, as a user would."""

    def run(sweep: dict[str, object], *options: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(sweep))
        return subprocess.run(
            [sys.executable, "-m", "tamt_ray.sweep", str(path), *options],
            capture_output=True, text=True, timeout=280, cwd=tmp_path, env=_clean(tmp_path),
            check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ids of the nodes that do not answer."""
    nodes = set[str]()
    monkeypatch.setattr(board_actor, "is_gone", nodes.__contains__)
    return nodes
