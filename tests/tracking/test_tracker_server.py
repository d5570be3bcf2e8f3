"""A real MLflow server that dies or never answers: nobody waits for it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tamt_ray.cli.app import app
from tamt_ray.tracking import tracker as tracker_module
from tamt_ray.tracking.summary import Summary
from tamt_ray.tracking.sync import sync
from tamt_ray.tracking.trouble import TrackingError

from .tracker_cases import T0, YAML, client, content, make_case, named, runs, until


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
    tracker.landed(*records[:6])
    until(lambda: len(runs(case.sweep)) > 2)
    server.kill()
    tracker.landed(*records[6:])
    tracker.report(Summary("", {"score": 0.5}, 1, T0, {"report.html": b"<p>"}, over=True))
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
def test_a_server_that_never_answers_delays_nothing(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        case = make_case(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracker = case.tracker()
        tracker.start()
        before = time.monotonic()
        for record in case.records.values():
            tracker.landed(record)
        assert tracker.close(0.5) == len(undisturbed)
        assert time.monotonic() - before < 3


def drip(door: socket.socket, over: threading.Event) -> None:
    """Answer with headers that never end, faster than any time-out between two bytes."""
    peer, _ = door.accept()
    with peer:
        peer.sendall(b"HTTP/1.1 200 OK\r\n")
        while not over.wait(0.05):
            peer.sendall(b"X-More: 1\r\n")


def test_a_server_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the verb too, which ends with 3 and says that nothing is lost."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracker_module, "_PATIENCE", 1.0)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door:
        for _ in range(2):
            threading.Thread(target=drip, args=(door, over), daemon=True).start()
        uri = f"http://127.0.0.1:{door.getsockname()[1]}"
        case = make_case(tmp_path, uri)
        begun = time.monotonic()
        with pytest.raises(TrackingError, match="no whole answer within 1 s"):
            sync(case.sweep, case.plan, case.store, case.records)
        (tmp_path / "sweep.yaml").write_text(f"store: empty\n{YAML.format(uri=uri)}")
        said = CliRunner().invoke(app, ["sync-mlflow", "sweep.yaml"])
        over.set()
    assert said.exit_code == 3, said.output
    assert "no whole answer within 1 s" in said.stderr
    assert "results are safe in the store" in said.stderr
    assert time.monotonic() - begun < 30
