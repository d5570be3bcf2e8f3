"""A whole sweep handed over with `tamt submit`: store and MLflow's artifacts on S3, models and data
from a mirror that only the laptop's environment names, followed by `tamt status --watch`.

The S3 server is moto's, a process of this machine that speaks the protocol over real sockets.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyarrow import fs

from .services_ray import environment, free_port, listening, started, wait_for, with_token

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system"),
    pytest.mark.timeout(1500),
]

LETTERS = "abcdefghijklmnopqrst"
KEYS = {
    "AWS_ACCESS_KEY_ID": "of-the-test", "AWS_SECRET_ACCESS_KEY": "of-the-test",
    "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[int]:
    """The port of a server with an empty bucket."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, tmp_path, f"http://127.0.0.1:{port}/moto-api/", environment(**KEYS)):
        fs.S3FileSystem(
            access_key="of-the-test", secret_key="of-the-test", region="us-east-1", scheme="http",
            endpoint_override=f"127.0.0.1:{port}", allow_bucket_creation=True,
        ).create_dir("bucket")  # fmt: skip
        yield port


@pytest.fixture
def mlflow(tmp_path: Path, s3: int) -> Iterator[str]:
    """An MLflow server that keeps artifacts on S3, as the one of `cluster/gpu.yaml`."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"),
        *("--artifacts-destination", "s3://bucket/mlflow"),
    ]
    env = environment(
        **KEYS, MLFLOW_S3_ENDPOINT_URL=f"http://127.0.0.1:{s3}", MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )  # fmt: skip
    with serving(command, tmp_path, f"http://127.0.0.1:{port}/health", env):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def mirror(tmp_path: Path, model_dir: Path) -> Path:
    """What stands in for the hub."""
    root = tmp_path / "mirror"
    shutil.copytree(model_dir, root / "models" / "lab" / "tiny")
    draw = random.Random(0)
    texts = {"text": [" ".join(draw.choices(LETTERS, k=20)) for _ in range(200)]}
    labels = [draw.randrange(2) for _ in range(200)]
    words = [f"{' '.join(draw.choices(LETTERS, k=5))} {('bad', 'good')[i]}" for i in labels]
    for name, columns in {"text": texts, "words": {"text": words, "label": labels}}.items():
        folder = root / "datasets" / "lab" / name / "default"
        folder.mkdir(parents=True)
        table = pa.table(columns)
        pq.write_table(table, folder / "train.parquet")
        pq.write_table(table.slice(0, 40), folder / "validation.parquet")
    return root


def sweep_of(s3: int, mlflow: str) -> dict[str, Any]:
    def table(name: str, split: str) -> dict[str, str]:
        return {"source": f"hf:lab/{name}", "split": split}

    return {
        "name": "toy",
        "store": f"s3://bucket/store?scheme=http&endpoint_override=127.0.0.1:{s3}",
        "mlflow": mlflow,
        "models": {"tiny": {"source": "hf:lab/tiny"}},
        "corpus": {
            "train": table("text", "train"), "validation": table("text", "validation"),
            "block_size": 16,
        },
        "search": {"batch_size": 4, "micro_batch": 2, "decay_steps": 20, "log_every": 2},
        "methods": ["omp", {"method": "tamt_mlm", "steps": 6, "lr": 5e-3}],
        "sparsities": [0.5],
        "mask_seeds": [1],
        "finetune_seeds": [1],
        "tasks": {
            "words": {
                "kind": "classification", "text": ["text"], "epochs": 1, "lr": 2e-3,
                "train": table("words", "train"), "validation": [table("words", "validation")],
            }
        },
    }  # fmt: skip


def test_a_whole_sweep_from_a_laptop(s3: int, mlflow: str, mirror: Path, tmp_path: Path) -> None:
    file = tmp_path / "laptop" / "toy.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump(sweep_of(s3, mlflow)))
    cluster = with_token(tmp_path) | KEYS | {"TAMT_CACHE": str(tmp_path / "cache")}
    laptop = cluster | {"TAMT_MIRROR": str(mirror), "HF_HUB_OFFLINE": "1"}
    # The head's own environment knows neither.
    del cluster["HF_HUB_OFFLINE"]
    port, pages = free_port(), free_port()
    here = "--node-ip-address=127.0.0.1"
    head = (
        f"ray start --head {here} --port={port} --num-cpus=0 --dashboard-host=127.0.0.1 "
        f"--dashboard-port={pages}"
    )
    join = f"ray start {here} --address=127.0.0.1:{port} --num-cpus=2"
    # Nodes of one machine share Ray's directory, and one would clear away the job's files under the
    # other.
    apart = [Path("/tmp/ray")]
    with started(head, tmp_path, cluster), started(join, tmp_path, cluster, apart):
        # Ray counts as started before its dashboard answers.
        wait_for(lambda: listening(pages), 60)
        job = tamt(laptop, "submit", str(file), "--address", f"http://127.0.0.1:{pages}")
        assert job.returncode == 0, job.stderr
        assert job.stdout.startswith("raysubmit_")
        watched = tamt(laptop, "status", str(file), "--watch")
        assert watched.returncode == 0, watched.stdout
        # The report, the figures and MLflow's last words come after the last unit.
        wait_for(lambda: summarised(mlflow), 300)
    assert "0 failed, 0 to run" in watched.stdout
    assert "done   search/tiny/tamt_mlm/0.5" in watched.stdout
    unit = "search/tiny/tamt_mlm/0.5*"
    assert "done in" in tamt(laptop, "logs", str(file), unit).stdout
    assert "0 damaged" in tamt(laptop, "verify", str(file)).stdout
    held = bucket(s3)
    assert "bucket/store/reports/toy/report.html" in held
    assert any(path.startswith("bucket/mlflow/") and path.endswith(".html") for path in held)
    sent = tamt(laptop, "sync-mlflow", str(file))
    assert sent.stdout.startswith("0 runs written to MLflow"), "the driver's tracker sent all"


def bucket(port: int) -> set[str]:
    filesystem = fs.S3FileSystem(
        access_key="of-the-test", secret_key="of-the-test", region="us-east-1", scheme="http",
        endpoint_override=f"127.0.0.1:{port}",
    )  # fmt: skip
    selector = fs.FileSelector("bucket", recursive=True)
    return {info.path for info in filesystem.get_file_info(selector)}


def summarised(mlflow: str) -> bool:
    """Whether the run of the whole sweep is complete."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow)
    experiment = client.get_experiment_by_name("toy")
    query = "tags.`tamt.unit` = 'summary' and tags.`tamt.complete` = 'true'"
    return bool(experiment and client.search_runs([experiment.experiment_id], query))


def tamt(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    main = "from tamt_ray.cli.entry import main; main()"
    return subprocess.run(
        [sys.executable, "-c", main, *words],
        capture_output=True, text=True, timeout=1000, check=False, env=env,
    )  # fmt: skip


@contextmanager
def serving(command: list[str], folder: Path, page: str, env: dict[str, str]) -> Iterator[None]:
    """A server until the block ends; it serves once the page is there."""
    said = folder / f"{Path(command[2]).name}.txt"

    def answers() -> bool:
        assert server.poll() is None, said.read_text()
        try:
            with urllib.request.urlopen(page, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    with said.open("w") as stream:
        server = subprocess.Popen(
            command, env=env, stdout=stream, stderr=stream, start_new_session=True, cwd=folder
        )
    try:
        wait_for(answers, 240)
        yield
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
