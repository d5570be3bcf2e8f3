"""A sweep of seconds for hosts that share a directory: tiny model, letters for text."""

import json
import random
import shutil
from pathlib import Path

import yaml

LETTERS = "abcdefghijklmnopqrst"


def write_toy(sweep: Path, shared: Path, seen_as: Path, model: Path, seeds: int = 4) -> None:
    """Write the sweep file, and its data, model and store into `shared`, which the hosts see as
    `seen_as`. Two searches, and three fine-tunes of seconds for each of so many seeds."""
    data = shared / "data"
    data.mkdir()
    shutil.copytree(model, data / "model")
    draw = random.Random(0)
    for part, count in (("train", 200), ("validation", 40)):
        lines = (" ".join(draw.choices(LETTERS, k=20)) for _ in range(count))
        (data / f"{part}.txt").write_text("\n".join(lines) + "\n")
        rows = (_row(draw) for _ in range(count))
        (data / f"{part}.jsonl").write_text("".join(rows))
    store = shared / "store"
    store.mkdir()
    for path in (shared, *shared.rglob("*")):
        path.chmod(0o1777 if path.is_dir() else 0o644)
    source = f"dir:{seen_as / 'data'}"
    toy = {
        "name": "toy",
        "store": str(seen_as / "store"),
        "models": {"tiny": {"source": f"{source}/model"}},
        "corpus": {
            "train": {"source": f"{source}/train.txt"},
            "validation": {"source": f"{source}/validation.txt"},
            "block_size": 16,
        },
        "search": {"batch_size": 4, "micro_batch": 2, "decay_steps": 300, "log_every": 100},
        "methods": [{"method": m, "steps": 300} for m in ("tamt_mlm", "tamt_kd")],
        "sparsities": [0.5],
        "mask_seeds": [1],
        "finetune_seeds": list(range(1, seeds + 1)),
        "tasks": {
            "words": {
                "kind": "classification", "text": ["text"], "epochs": 25, "lr": 2e-3,
                "train": {"source": f"{source}/train.jsonl"},
                "validation": [{"source": f"{source}/validation.jsonl"}],
            }
        },
        "execution": {"retries": 0},
    }  # fmt: skip
    sweep.write_text(yaml.safe_dump(toy, sort_keys=False))


def _row(draw: random.Random) -> str:
    """The label says whether `good` or `bad` stands among letters."""
    label = draw.randrange(2)
    words = [*draw.choices(LETTERS, k=draw.randint(2, 8)), ("bad", "good")[label]]
    draw.shuffle(words)
    return json.dumps({"text": " ".join(words), "label": label}) + "\n"
