"""A whole sweep in files: tiny model, letters for text, seconds of work."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

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
        "search": {"batch_size": 4, "micro_batch": 2, "horizon": 20, "log_every": 2},
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


Tamt = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tamt(tmp_path: Path) -> Tamt:
    """Runs `python -m tamt_ray.sweep` on a sweep given as a mapping, as a user would."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("TAMT_", "RAY_"))},
        "TAMT_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
    }

    def run(sweep: dict[str, object], *options: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(sweep))
        return subprocess.run(
            [sys.executable, "-m", "tamt_ray.sweep", str(path), *options],
            capture_output=True, text=True, timeout=280, cwd=tmp_path, env=environment, check=False,
        )  # fmt: skip

    return run
