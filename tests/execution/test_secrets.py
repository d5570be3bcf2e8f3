"""Credentials in the driver's environment are found in no file that a sweep leaves anywhere; a
sweep file that holds some is refused."""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
Faults = StartDriver = Any
"""The fixtures' own classes, of `conftest`."""

NAMES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "TWINE_PASSWORD", "GOOGLE_APPLICATION_CREDENTIALS",
    "RAY_AUTH_TOKEN",
)  # fmt: skip
SECRETS = {name: f"planted-{number:02d}" for number, name in enumerate(NAMES)} | {
    "PIP_INDEX_URL": "http://me:planted-90@127.0.0.1:9/simple"
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary directory with a short path, as Ray's sockets need it, watched to its end."""
    path = Path(tempfile.mkdtemp(prefix="t-"))
    yield path
    shutil.rmtree(path)


def copies(source: Path, seen: dict[Path, bytes]) -> None:
    """Take in what the files below hold now: a local Ray leaves nothing in the end."""
    for path in source.rglob("*"):
        try:
            if path.is_file():
                seen[path] = path.read_bytes()
        except OSError:
            continue


@pytest.mark.parametrize("given", [False, True], ids=["a local Ray", "a given Ray"])
def test_no_file_holds_what_was_planted(
    given: bool, toy: Toy, faults: Faults, start_driver: StartDriver, tmp_path: Path, place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A search in a gang, fine-tunes in the fleet, and one that fails. Workers have the hub's token
    all the same, also those of a Ray that was started without it."""
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    toy["methods"] = ["omp", {"method": "tamt_mlm", "steps": 6}]
    toy["sparsities"] = [0.5, 0.25]
    faults.inject("diverge", method="omp", sparsity=0.25)
    marked = faults.inject("nothing", method="tamt_mlm", times=9)
    for name, value in faults.environment.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4}) if given else None
    # A given Ray has a token of its own, which its drivers must have too.
    planted = {n: value for n, value in SECRETS.items() if not given or n != "RAY_AUTH_TOKEN"}
    seen: dict[Path, bytes] = {}
    before = {*Path("/dev/shm").rglob("*")}
    try:
        options = ["--address", cluster.address] if cluster else []
        driver = start_driver(
            toy, *options, **planted, **faults.environment, TMPDIR=str(tmp_path),
            RAY_TMPDIR=str(place), HOME=str(tmp_path / "home"),
        )  # fmt: skip
        while driver.process.poll() is None:
            copies(place, seen)
            copies(tmp_path, seen)
            for path in {*Path("/dev/shm").glob("*")} - before:
                copies(path, seen)
            time.sleep(0.2)
        assert driver.end() == 1, driver.said
    finally:
        ray.shutdown()
        if cluster:
            cluster.shutdown()
    copies(place, seen)
    copies(tmp_path, seen)
    assert any("runtime_env_agent" in path.name for path in seen)
    found = {path: {*re.findall(rb"planted-\d\d", data)} for path, data in seen.items()}
    # MLflow shows the name of the account as the user of a run, in its own database.
    account = {SECRETS["MLFLOW_TRACKING_USERNAME"].encode()}
    databases = {path for path in found if path.name.startswith("mlflow.db")}
    assert {path: names for path, names in found.items() if names and path not in databases} == {}
    assert all(found[path] <= account for path in databases)
    struck = faults.struck(marked)
    assert {mark["kind"] for mark in struck} == {"search", "pretrain_eval", "finetune"}
    assert {mark["token"] for mark in struck} == {len(SECRETS["HF_TOKEN"])}


@pytest.mark.parametrize(
    "line",
    [
        {"mlflow": "postgresql://me:planted-70/x@host/db"}, {"mlflow": "https://planted-71@host"},
        {"store": "s3://AKIA:planted-72/x@bucket/results"},
    ],
    ids=str,
)  # fmt: skip
def test_a_sweep_file_with_credentials_is_refused(
    line: dict[str, str], toy: Toy, start_driver: StartDriver, tmp_path: Path
) -> None:
    """And nothing is written or said of them."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    driver = start_driver(
        toy | line, TMPDIR=str(temporary), RAY_TMPDIR=str(temporary), HOME=str(tmp_path)
    )
    assert driver.end() == 2
    seen: dict[Path, bytes] = {}
    copies(tmp_path, seen)
    assert {path.name for path, data in seen.items() if b"planted" in data} == {"sweep.yaml"}
    assert "it holds credentials" in driver.said
    assert [*temporary.iterdir()] == []
