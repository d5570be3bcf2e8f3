"""A real MLflow server that dies or never answers: nobody waits for it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tamt_ray.tracking.tracker import TrackingError, sync

from .tracker_cases import client, content, make_case, named, until


class Server:
    """`mlflow server` on loopback, to be killed and started again."""

    def __init__(self, root: Path, database: Path) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._root = root
        self._log = (root / "server.log").open("ab")
        shutil.copy(database, root / "mlflow.db")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self._root}/mlflow.db"),
            *("--artifacts-destination", str(self._root / "artifacts")),
        ]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.process = subprocess.Popen(
            command, env={**os.environ, **quiet}, stdout=self._log, stderr=self._log,
            start_new_session=True, cwd=self._root,
        )  # fmt: skip

    def wait(self) -> None:
        until(self._healthy, 120)

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        self._log.close()

    def _healthy(self) -> bool:
        assert self.process
        assert self.process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), empty_database)
    server.start()
    yield server
    server.close()


@pytest.mark.usefixtures("impatient")
def test_a_server_killed_in_the_middle_and_started_again(
    server: Server, tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    case = make_case(tmp_path, server.uri)
    server.wait()
    tracker = case.tracker()
    tracker.start()
    records = list(case.records.values())
    for record in records[:6]:
        tracker.landed(record)
    until(lambda: b"done" in (case.spool / "events.jsonl").read_bytes())
    server.kill()
    for record in records[6:]:
        tracker.landed(record)
    tracker.summary({"report.html": b"<p>"}, {"score": 0.5})
    until(lambda: tracker.problem)
    assert str(server.port) in str(tracker.problem), "which server, in one line"
    assert "\n" not in str(tracker.problem)
    with pytest.raises(TrackingError):
        sync(case.sweep, case.plan, case.store, case.records)
    server.start()
    server.wait()
    assert tracker.close(60) == 0
    assert tracker.problem is None
    held = content(case.sweep)
    assert held.pop("summary")
    assert held == undisturbed
    summary = named(case, "summary of demo")
    artifacts = client(case.sweep.mlflow).list_artifacts(summary.info.run_id)
    assert [file.path for file in artifacts] == ["report.html"]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_delays_nothing(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        case = make_case(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracker = case.tracker()
        tracker.start()
        before = time.monotonic()
        for record in case.records.values():
            tracker.landed(record)
        assert tracker.close(0.5) == len(case.records)
        assert time.monotonic() - before < 3
    assert case.tracker().close(0) == len(case.records), "kept for the next start"
