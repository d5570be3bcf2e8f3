"""MLflow on PostgreSQL with eight sweeps at a time: every run, point and tag is there, once.

The server is Debian's, in a directory of its own, on a socket only. By hand, as root:

    apt-get install -y postgresql
    install -d -o postgres -m 700 /srv/mlflow-db
    cd /srv/mlflow-db
    setpriv --reuid=postgres --regid=postgres --init-groups \\
      $(ls -d /usr/lib/postgresql/*/bin | tail -1)/initdb -D data --auth=trust
    setpriv --reuid=postgres --regid=postgres --init-groups \\
      $(ls -d /usr/lib/postgresql/*/bin | tail -1)/postgres -D data -k . -c listen_addresses= &
    createdb --host=$PWD --username=postgres mlflow
    mlflow server --backend-store-uri "postgresql+psycopg2://postgres@/mlflow?host=$PWD"
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tamt_ray.data.history import Point
from tamt_ray.store.record import Record
from tamt_ray.tracking.outline import outline

from .services_ray import environment, free_port, wait_for
from .services_writer import STEPS, results_of, sweep_of

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL refuses to be root; becomes postgres"),
    pytest.mark.timeout(900),
]

WRITERS = 8


@pytest.fixture(scope="module")
def binaries() -> Path:
    """Where initdb and postgres are; installed where they are not."""

    def found() -> list[Path]:
        return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

    if not found():
        # A server of the package's own is of no use here.
        conf = Path("/etc/postgresql-common/createcluster.conf")
        conf.parent.mkdir(exist_ok=True)
        conf.write_text("create_main_cluster = false\n")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "install", "-y", "postgresql"], check=True, env=quiet)
    return found()[-1].parent


@pytest.fixture(scope="module")
def database(binaries: Path) -> Iterator[Path]:
    """The directory of a running server's socket, which only root and postgres may enter."""
    folder = Path(tempfile.mkdtemp(prefix="tamt-pg-"))
    shutil.chown(folder, "postgres", "postgres")
    as_postgres: dict[str, Any] = {
        "user": "postgres", "group": "postgres", "extra_groups": [], "cwd": folder,
        "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL,
    }  # fmt: skip
    subprocess.run([binaries / "initdb", "-D", "data", "--auth=trust"], check=True, **as_postgres)
    server = subprocess.Popen(
        [binaries / "postgres", "-D", "data", "-k", str(folder), "-c", "listen_addresses="],
        **as_postgres,
    )
    try:
        ready = [binaries / "pg_isready", "-q", "-h", str(folder)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, 120)
        subprocess.run(
            [binaries / "createdb", "-h", folder, "-U", "postgres", "mlflow"], check=True
        )
        yield folder
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def mlflow_uri(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server on loopback with that database."""
    root, port = tmp_path_factory.mktemp("mlflow"), free_port()
    with (root / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                *("--port", str(port), "--workers", "2"),
                *("--backend-store-uri", f"postgresql+psycopg2://postgres@/mlflow?host={database}"),
                *("--artifacts-destination", str(root / "artifacts")),
            ],
            env=environment(
                MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"
            ),
            stdout=log, stderr=log, start_new_session=True, cwd=root,
        )  # fmt: skip

    def healthy() -> bool:
        assert server.poll() is None, (root / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    try:
        wait_for(healthy, 240)
        yield f"http://127.0.0.1:{port}"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_eight_sweeps_at_a_time_lose_nothing(
    mlflow_uri: str, database: Path, binaries: Path, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("services_writer.py")
    writers = [
        subprocess.Popen(
            [sys.executable, script, str(number), mlflow_uri, tmp_path / str(number)],
            env=environment(),
        )
        for number in range(WRITERS)
    ]
    try:
        assert [writer.wait(600) for writer in writers] == [0] * WRITERS
    finally:
        for writer in writers:
            writer.kill()

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_uri)
    points = runs = 0
    for number in range(WRITERS):
        plan = sweep_of(number, mlflow_uri)[1]
        results = results_of(plan)
        experiment = client.get_experiment_by_name(f"sweep-{number}")
        assert experiment
        found = list(client.search_runs([experiment.experiment_id], max_results=1000))
        keys = Counter(run.data.tags["tamt.unit"] for run in found)
        assert set(keys.values()) == {1}, "one run a key"
        assert keys.keys() == outline(plan).runs.keys()
        assert {run.data.tags["tamt.state"].partition(" ")[0] for run in found} == {"done"}
        assert {run.info.status for run in found} == {"FINISHED"}
        told = Counter(
            (point.key, point.step, point.timestamp, point.value)
            for run in found
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        )
        assert told == Counter(
            point for record, curve in results for point in expected(record, curve)
        )
        points, runs = points + told.total(), runs + len(found)
    # What the server holds, asked without MLflow between.
    assert count(binaries, database, "runs") == runs
    assert count(binaries, database, "metrics") == points
    evaluations = sum(not curve for _, curve in results)
    assert points == WRITERS * (2 * len(results) + 2 * STEPS * (len(results) - evaluations))


def expected(record: Record, curve: list[Point]) -> Iterator[tuple[str, int, int, float]]:
    """The points of one unit as MLflow shows them: times in milliseconds."""
    end = round((record.started + record.seconds) * 1000)
    before = "pretrain/" if record.kind == "pretrain_eval" else ""
    for name, value in record.metrics.items():
        yield f"{before}{name}", 0, end, value
    for point in curve:
        yield f"{record.kind}/{point.name}", point.step, round(point.time * 1000), point.value


def count(binaries: Path, database: Path, table: str) -> int:
    asked = subprocess.run(
        [
            *(binaries / "psql", "-h", database, "-U", "postgres", "-At"),
            *("-c", f"select count(*) from {table}", "mlflow"),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(asked.stdout)


def test_the_database_listens_on_its_socket_only(database: Path) -> None:
    data = database / "data" / "postmaster.pid"
    port = int(data.read_text().splitlines()[3])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert database.stat().st_mode & 0o777 == 0o700
