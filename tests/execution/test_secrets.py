"""Credentials in the driver's environment are found in no file that a sweep leaves anywhere, and in
shared memory only where nobody else can open it; a sweep file that holds some is refused."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextlib.contextmanager
def cluster(environment: dict[str, str]) -> Iterator[str]:
    """Address of a Ray of its own process and environment, on loopback."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**kept, **environment},
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        address = process.stdout.readline().strip()
        assert address, "Ray does not start"
        yield address
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def shared_memory(place: Path) -> Iterator[tuple[os.stat_result, bytes]]:
    """State and content of what the Ray in a place shares among its processes. No name leads to
    it: only its user, and root, can open it, by way of one of them."""
    for raylet in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(place).encode() not in (raylet / "cmdline").read_bytes():
                continue
            for link in (raylet / "fd").iterdir():
                if os.readlink(link).startswith("/dev/shm/plasma"):
                    with link.open("rb") as file:
                        yield os.fstat(file.fileno()), b"".join(used(file.fileno()))


def used(file: int) -> Iterator[bytes]:
    """The parts of a file that have ever been written to: it is as large as a third of memory."""
    end = 0
    with contextlib.suppress(OSError):  # Nothing follows.
        while True:
            begin = os.lseek(file, end, os.SEEK_DATA)
            end = os.lseek(file, begin, os.SEEK_HOLE)
            yield os.pread(file, end - begin, begin)


def copies(source: Path, seen: dict[Path, bytes]) -> None:
    """Take in what a file, or those below a folder, hold now: a local Ray leaves nothing in the
    end."""
    for path in (source, *source.rglob("*")):
        try:
            if path.is_file():
                seen[path] = path.read_bytes()
        except OSError:
            continue


@pytest.mark.parametrize("given", [False, True], ids=["a local Ray", "a given Ray"])
def test_no_file_holds_what_was_planted(
    given: bool, toy: Toy, faults: Faults, start_driver: StartDriver, tmp_path: Path, place: Path
) -> None:
    """A search in a gang, fine-tunes in the fleet, and one that fails. Workers have the hub's token
    all the same, also those of a Ray that was started without it."""
    toy["methods"] = ["omp", {"method": "tamt_mlm", "steps": 6}]
    toy["sparsities"] = [0.5, 0.25]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": SECRETS["RAY_AUTH_TOKEN"]}
    faults.inject("diverge", method="omp", sparsity=0.25)
    marked = faults.inject("nothing", method="tamt_mlm", times=9)
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    there = {**faults.environment, **token, **loopback, "RAY_TMPDIR": str(place)}
    seen: dict[Path, bytes] = {}
    shared: set[tuple[int, int, int, bytes]] = set()
    before = {*Path("/dev/shm").glob("*")}
    with cluster(there) if given else contextlib.nullcontext() as address:
        options = ["--address", address] if address else []
        driver = start_driver(
            toy, *options, **SECRETS | there, TMPDIR=str(tmp_path), HOME=str(tmp_path / "home")
        )
        while driver.process.poll() is None:
            copies(place, seen)
            copies(tmp_path, seen)
            for path in {*Path("/dev/shm").glob("*")} - before:
                copies(path, seen)
            for state, content in shared_memory(place):
                kind = state.st_mode & 0o777, state.st_uid, state.st_nlink
                shared |= {(*kind, name) for name in re.findall(rb"planted-\d\d", content)}
            time.sleep(0.2)
        assert driver.end() == 1, driver.said
    copies(place, seen)
    copies(tmp_path, seen)
    assert any("runtime_env_agent" in path.name for path in seen)
    found = {path: {*re.findall(rb"planted-\d\d", data)} for path, data in seen.items()}
    # MLflow shows the name of the account as the user of a run, in its own database.
    account = {SECRETS["MLFLOW_TRACKING_USERNAME"].encode()}
    databases = {path for path in found if path.name.startswith("mlflow.db")}
    assert {path: names for path, names in found.items() if names and path not in databases} == {}
    assert all(found[path] <= account for path in databases)
    # The hub's token reaches workers through shared memory, as a file without a name.
    assert shared == {(0o600, os.getuid(), 0, SECRETS["HF_TOKEN"].encode())}
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
