"""Planning is cheap: the whole paper is laid out without torch, Ray or a file written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_dry_run_of_the_main_results(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tamt_ray.sweep",
         str(ROOT / "sweeps" / "main_results.yaml"), "--dry-run", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    body = json.loads(ran.stdout)
    assert body["masks"] == 256
    for kind, total in {"head": 0, "search": 256, "pretrain_eval": 258, "finetune": 5418}.items():
        counts = body["units"][kind]
        assert (counts["total"], counts["done"], counts["to_run"]) == (total, 0, total)
    assert body["units"]["search"]["waiting"] == 2 * 3 * 7, "imp levels above 20 %"
    assert body["units"]["pretrain_eval"]["waiting"] == 256
    assert body["units"]["finetune"]["waiting"] == 256 * 21
    assert 100 < body["gpu_hours"] < 100_000

    imported = {m[1] for m in re.finditer(r"\| +(\w+)[\w.]*$", ran.stderr, re.MULTILINE)}
    assert "pydantic" in imported, "the import log is read wrongly"
    heavy = {"torch", "ray", "mlflow", "transformers", "datasets", "vl_convert", "scipy"}
    assert not imported & heavy
    talk = [line for line in ran.stderr.splitlines() if not line.startswith("import time:")]
    assert talk == []
    assert list(tmp_path.iterdir()) == []
