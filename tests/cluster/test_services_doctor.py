"""`tamt doctor` on real clusters of two nodes, one where nothing is as it should be.

There the second node has mounts of its own, and so other directories where the store and a source
should be; it finds another version of a library; and nobody asks for a token. As root, to mount.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .services_ray import environment, free_port, started, with_token

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system"),
]


@pytest.fixture
def sweep(tmp_path: Path, model_dir: Path) -> dict[str, Any]:
    for name in ("train.txt", "validation.txt", "only_here/rows.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"text": "good", "label": 1}\n{"text": "bad", "label": 0}\n')
    rows = {"source": f"dir:{tmp_path / 'only_here' / 'rows.jsonl'}"}
    return {
        "name": "toy",
        "store": str(tmp_path / "results"),
        "models": {"tiny": {"source": f"dir:{model_dir}"}},
        "corpus": {
            name: {"source": f"dir:{tmp_path / f'{name}.txt'}"} for name in ("train", "validation")
        },
        "methods": ["omp"],
        "sparsities": [0.5],
        "tasks": {
            "words": {
                "kind": "classification", "text": ["text"], "train": rows, "validation": [rows],
            }
        },
    }  # fmt: skip


def test_every_fault_is_named_with_what_to_do(sweep: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    older = tmp_path / "older" / "transformers-0.0.1.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 0.0.1")
    sweep["mlflow"] = "http://127.0.0.1:9"
    env = environment(RAY_AUTH_MODE="disabled", TAMT_CACHE=str(tmp_path / "cache"))
    strange = {**env, "PYTHONPATH": f"{older.parent}:{env['PYTHONPATH']}"}
    hidden = [tmp_path / "results", tmp_path / "only_here"]
    head, join = commands()
    with started(head, tmp_path, env), started(join, tmp_path, strange, hidden):
        code, found = examined(tmp_path, sweep, join, env)
    assert code == 1
    failed = {one["check"]: one for one in found if not one["passed"]}
    assert failed.keys() == {"token", "versions", "store", "sources", "mlflow"}
    assert "lets in whoever reaches it" in failed["token"]["said"]
    assert "RAY_AUTH_MODE=token" in failed["token"]["advice"]
    assert "transformers is" in failed["versions"]["said"]
    assert "0.0.1 on" in failed["versions"]["said"]
    assert "a directory of its own" in failed["store"]["said"]
    assert "s3://" in failed["store"]["advice"]
    assert "rows.jsonl: No such file" in failed["sources"]["said"]
    assert failed["mlflow"]["where"] == "driver"
    assert all(one["advice"] for one in failed.values())
    assert list((tmp_path / "results" / "doctor").iterdir()) == []


def test_a_cluster_that_is_fit(sweep: dict[str, Any], tmp_path: Path) -> None:
    sweep["mlflow"] = f"sqlite:///{tmp_path}/mlflow.db"
    env = with_token(tmp_path) | {"TAMT_CACHE": str(tmp_path / "cache")}
    head, join = commands()
    with started(head, tmp_path, env), started(join, tmp_path, env):
        code, found = examined(tmp_path, sweep, join, env)
    assert (code, [one for one in found if not one["passed"]]) == (0, [])
    said = {one["check"]: one["said"] for one in found}
    assert said.keys() == {
        "nodes", "token", "versions", "store", "sources", "rows", "mlflow", "disk", "gpus",
        "all-reduce",
    }  # fmt: skip
    assert said["token"].endswith("refuses a client without the token")
    assert "gloo, 2 processes on 2 nodes" in said["all-reduce"]
    assert not (tmp_path / "mlflow.db").exists()


def commands() -> tuple[str, str]:
    """What starts a head that runs no units, and a node that joins it."""
    port = free_port()
    host = "--node-ip-address=127.0.0.1"
    head = f"ray start --head {host} --port={port} --num-cpus=0 --include-dashboard=false"
    return head, f"ray start {host} --address=127.0.0.1:{port} --num-cpus=1"


def examined(
    folder: Path, sweep: dict[str, Any], join: str, env: dict[str, str]
) -> tuple[int, list[dict[str, Any]]]:
    """What `tamt doctor --json` ends with and says of the cluster that `join` joins."""
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep))
    main = "from tamt_ray.cli.entry import main; main()"
    address = next(word for word in join.split() if word.startswith("--address="))
    called = subprocess.run(
        [sys.executable, "-c", main, "doctor", str(path), address, "--json"],
        capture_output=True, text=True, timeout=280, check=False, env=env,
    )  # fmt: skip
    assert called.stdout, called.stderr
    return called.returncode, json.loads(called.stdout)["findings"]
