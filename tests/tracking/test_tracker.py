"""MLflow gets every unit exactly once, whatever happens to it, and nobody waits for it.

All of it against the real MLflow: SQLite, and a server process on loopback.
"""

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tamt_ray.data.history import History, Point
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Unit, config_dict
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store
from tamt_ray.tracking import tracker as tracker_module
from tamt_ray.tracking.tracker import Tracker, TrackingError, load_writer, sync, ui_command

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow 3.17 with SQLAlchemy 2.1; nothing of ours uses that strategy.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)

YAML = """
name: demo
mlflow: {uri}
models:
  bert: {{source: "hf:bert", head: {{steps: 5}}}}
corpus:
  train: {{source: "hf:wiki", split: train}}
  validation: {{source: "hf:wiki", split: validation}}
methods: [imp, {{method: tamt_kd, steps: 20}}]
sparsities: [0.3]
mask_seeds: [1]
finetune_seeds: [1, 2]
tasks:
  stsb:
    kind: regression
    text: [a, b]
    train: {{source: "hf:glue#stsb", split: train}}
    validation: [{{source: "hf:glue#stsb", split: validation}}]
"""
T0 = 1_700_000_000.25


@dataclass(frozen=True)
class Case:
    """A small sweep, finished in a store; nothing is in MLflow yet."""

    sweep: Sweep
    plan: Plan
    store: Store
    records: dict[str, Record]
    spool: Path

    def tracker(self) -> Tracker:
        return Tracker(self.sweep, self.plan, self.store, self.spool)

    def unit(self, **labels: object) -> Unit:
        return next(
            unit
            for unit in self.plan.units.values()
            if all({"kind": unit.kind, **unit.labels}.get(k) == v for k, v in labels.items())
        )


def make_case(root: Path, uri: str) -> Case:
    sweep = parse_sweep(YAML.format(uri=uri))
    plan = expand(sweep)
    store = Store(str(root / "results"))
    records: dict[str, Record] = {}
    for number, unit in enumerate(plan.units.values()):
        record, artifacts = finish(unit, T0 + 100 * number, number)
        records[unit.id] = store.commit(record, artifacts)
    return Case(sweep, plan, store, records, root / "spool")


def finish(unit: Unit, started: float, number: int) -> tuple[Record, dict[str, bytes]]:
    history = History()
    if unit.kind != "pretrain_eval":
        history.points = [
            Point(step, name, number + step / 64, started + step)
            for step in range(20)
            for name in ("loss", "lr")
        ]
    metrics = {"mlm_loss": 3.5, "kd_loss": 0.25} if unit.kind == "pretrain_eval" else {"best": 0.75}
    record = Record(
        id=unit.id, kind=unit.kind, config=config_dict(unit.config), parents=unit.parents,
        metrics=metrics, sources={"hf:glue#stsb#train": f"{number:064x}"[::-1]}, started=started,
        seconds=50.5, device="cpu", place="node-1",
    )  # fmt: skip
    return record, {"history.parquet": history.to_parquet()} if history.points else {}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once, copied for each test: the migrations take seconds."""
    path = tmp_path_factory.mktemp("empty")
    case = make_case(path, f"sqlite:///{path}/mlflow.db")
    load_writer(case.sweep, case.plan, case.store)
    client(case.sweep.mlflow).search_experiments()
    return path / "mlflow.db"


@pytest.fixture
def case(tmp_path: Path, empty_database: Path) -> Case:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return make_case(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> dict[str, object]:
    """What MLflow holds when nothing goes wrong."""
    path = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(empty_database, path / "mlflow.db")
    case = make_case(path, f"sqlite:///{path}/mlflow.db")
    tracker = case.tracker()
    tracker.start()
    for record in case.records.values():
        tracker.landed(record)
    assert tracker.close(60) == 0
    return content(case.sweep)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as after a few seconds of trouble, without the seconds."""
    monkeypatch.setattr(tracker_module, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(tracker_module, "_LONGEST_PAUSE", 0.2)


def client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs(sweep: Sweep) -> list["Run"]:
    mlflow = client(sweep.mlflow)
    experiment = mlflow.get_experiment_by_name("demo")
    return list(mlflow.search_runs([experiment.experiment_id])) if experiment else []


def content(sweep: Sweep) -> dict[str, object]:
    """All that MLflow holds of the sweep, with run ids replaced by keys; each key occurs once."""
    mlflow = client(sweep.mlflow)
    found = runs(sweep)
    key_of = {run.info.run_id: run.data.tags["tamt.unit"] for run in found}
    twice = [key for key, count in Counter(key_of.values()).items() if count > 1]
    assert not twice, "one run a key"
    result: dict[str, object] = {}
    for run in found:
        tags = dict(run.data.tags)
        parent = tags.pop("mlflow.parentRunId", None)
        points = [
            (point.key, point.step, point.timestamp, point.value)
            for name in run.data.metrics
            for point in mlflow.get_metric_history(run.info.run_id, name)
        ]
        result[key_of[run.info.run_id]] = {
            "name": run.info.run_name,
            "parent": key_of[parent] if parent else None,
            "times": (run.info.start_time, run.info.end_time, run.info.status),
            "tags": tags,
            "params": run.data.params,
            "points": sorted(points),
            "inputs": sorted((i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs),
        }
    return result


def until(true: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def named(case: Case, name: str) -> "Run":
    return next(run for run in runs(case.sweep) if run.info.run_name == name)


# --- what is there -------------------------------------------------------------------------


def test_two_levels_with_names_people_can_read(undisturbed: dict[str, dict[str, object]]) -> None:
    name_of = {key: run["name"] for key, run in undisturbed.items()}
    tree = Counter((run["name"], name_of.get(run["parent"])) for run in undisturbed.values())
    children = {"stsb seed 1", "stsb seed 2"}
    parents = {"full (bert)", "imp 0.3 mask-seed 1 (bert)", "tamt_kd 0.3 mask-seed 1 (bert)"}
    alone = {"imp 0.2 mask-seed 1 (bert, level on the way)", "mlm-head (bert)"}
    expected = {(name, None) for name in parents | alone}
    expected |= {(child, parent) for child in children for parent in parents}
    assert tree == Counter(expected)


def test_a_subnetwork_holds_its_search_and_its_losses(case: Case) -> None:
    unit = case.unit(kind="search", method="tamt_kd")
    tracker = case.tracker()
    tracker.start()
    tracker.landed(case.records[unit.id])
    tracker.landed(case.records[case.unit(kind="pretrain_eval", method="tamt_kd").id])
    assert tracker.close(60) == 0
    run = named(case, "tamt_kd 0.3 mask-seed 1 (bert)")
    tags = {key.removeprefix("tamt."): value for key, value in run.data.tags.items()}
    assert tags["unit"] == unit.id
    assert tags["complete"] == "true"
    named_so = ("kind", "model", "method", "sparsity", "mask_seed", "device", "place")
    assert [tags[key] for key in named_so] == [
        "search",
        "bert",
        "tamt_kd",
        "0.3",
        "1",
        "cpu",
        "node-1",
    ]
    assert run.data.metrics["pretrain/kd_loss"] == 0.25
    assert run.data.metrics["best"] == 0.75
    assert run.data.params["training.batch_size"] == "16", "defaults are shown as well"
    assert run.data.params["model.source"] == "hf:bert"
    record = case.records[unit.id]
    curve = client(case.sweep.mlflow).get_metric_history(run.info.run_id, "search/loss")
    started = round(record.started * 1000)
    assert [(p.step, p.timestamp) for p in curve] == [(s, started + 1000 * s) for s in range(20)]
    assert run.info.start_time == started
    assert run.info.end_time == started + 50_500, "waiting for the evaluation is not searching"
    (dataset,) = [i.dataset for i in run.inputs.dataset_inputs if i.tags[0].value == "search"]
    assert dataset.name == "glue#stsb#train"
    assert dataset.digest == record.sources["hf:glue#stsb#train"][:36]


@pytest.mark.usefixtures("impatient")
def test_curves_longer_than_a_request_arrive_whole(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first attempt ends after the first request of three."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    write, sizes = SqlAlchemyStore.log_batch, list[int]()

    def cut(self: SqlAlchemyStore, *args: object, **kwargs: object) -> None:
        metrics = kwargs["metrics"]
        assert isinstance(metrics, list)
        sizes.append(len(metrics))
        if len(sizes) == 2:
            raise MlflowException("the connection was cut")
        write(self, *args, **kwargs)

    monkeypatch.setattr(SqlAlchemyStore, "log_batch", cut)
    unit = case.unit(kind="finetune", method="full", seed=1)
    history = History()
    history.points = [Point(step, "loss", step / 8, T0 + step) for step in range(2300)]
    case.store.commit(case.records[unit.id], {"history.parquet": history.to_parquet()})
    tracker = case.tracker()
    tracker.start()
    record = case.store.record(unit.kind, unit.id)
    assert record
    tracker.landed(record)
    assert tracker.close(60) == 0
    run = named(case, "stsb seed 1")
    curve = client(case.sweep.mlflow).get_metric_history(run.info.run_id, "finetune/loss")
    assert [(point.step, point.value) for point in curve] == [(s, s / 8) for s in range(2300)]
    assert max(sizes) <= 1000
    assert sizes[0] == sizes[2] > 0, "the first request was made twice"


def test_a_failure_is_shown_until_the_unit_is_done(case: Case) -> None:
    unit = case.unit(kind="finetune", method="full", seed=1)
    failure = Failure(
        id=unit.id, kind=unit.kind, labels=dict(unit.labels), error="NonFiniteLossError",
        message="the loss is nan at step 3", traceback="Traceback …", attempts=1, at=T0,
    )  # fmt: skip
    tracker = case.tracker()
    tracker.start()
    tracker.failed(failure)
    until(lambda: any(run.info.status == "FAILED" for run in runs(case.sweep)))
    run = named(case, "stsb seed 1")
    assert run.data.tags["tamt.error"] == "NonFiniteLossError: the loss is nan at step 3"
    tracker.landed(case.records[unit.id])
    assert tracker.close(60) == 0
    run = named(case, "stsb seed 1")
    assert run.info.status == "FINISHED"
    assert "tamt.error" not in run.data.tags
    assert run.info.start_time == round(case.records[unit.id].started * 1000)


def test_the_summary_run_carries_tables_and_figures(case: Case, tmp_path: Path) -> None:
    for score in (0.5, 0.625):
        tracker = case.tracker()
        tracker.start()
        tracker.summary({"report.html": b"<p>%f" % score, "figures/a.png": b"png"}, {"a/b": score})
        assert tracker.close(60) == 0
    (run,) = runs(case.sweep)
    assert run.info.run_name == "summary of demo"
    assert run.data.metrics == {"a/b": 0.625}
    mlflow = client(case.sweep.mlflow)
    assert [file.path for file in mlflow.list_artifacts(run.info.run_id)] == [
        "figures",
        "report.html",
    ]
    assert run.info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())
    got = mlflow.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert Path(got).read_bytes() == b"<p>0.625000"


def test_the_command_to_look_at_it(case: Case) -> None:
    def command(uri: str) -> str:
        return ui_command(case.sweep.model_copy(update={"mlflow": uri}))

    assert command("sqlite:///mlflow.db") == "mlflow ui --backend-store-uri sqlite:///mlflow.db"
    assert command("sqlite:///my runs.db") == "mlflow ui --backend-store-uri 'sqlite:///my runs.db'"
    assert command("https://me:secret@mlflow.example:5000") == "https://***@mlflow.example:5000"


# --- exactly once --------------------------------------------------------------------------


def test_sync_brings_all_and_changes_nothing_the_second_time(
    case: Case, undisturbed: dict[str, object]
) -> None:
    first = sync(case.sweep, case.plan, case.store, case.records)
    assert (first.written, first.present, first.refused) == (len(case.plan.units), 0, {})
    assert content(case.sweep) == undisturbed
    second = sync(case.sweep, case.plan, case.store, case.records)
    assert (second.written, second.present) == (0, len(case.plan.units))
    assert content(case.sweep) == undisturbed


@pytest.mark.parametrize("seed", [1, 2])
def test_requests_that_fail_before_or_after_their_effect(
    case: Case, undisturbed: dict[str, object], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third request fails, half of these only after the server did what it was asked."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    dice, failures = random.Random(seed), Counter[str]()

    def shaky(method: Callable[..., object], name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            fate = dice.random()
            if fate < 1 / 6:
                failures[name] += 1
                raise MlflowException("connection refused")
            result = method(*args, **kwargs)
            if fate > 5 / 6:
                failures[name] += 1
                raise MlflowException("the answer was lost")
            return result

        return call

    with monkeypatch.context() as patch:
        names = ("create_run", "log_batch", "log_inputs", "set_terminated")
        for name in (*names, "search_runs", "create_experiment"):
            patch.setattr(MlflowClient, name, shaky(getattr(MlflowClient, name), name))
        writer = load_writer(case.sweep, case.plan, case.store)
        for record in case.records.values():
            for _ in range(2000):
                try:
                    writer.landed(record)
                    break
                except TrackingError:
                    continue
    assert all(failures[name] for name in names)
    assert content(case.sweep) == undisturbed


def test_a_run_made_after_its_request_was_given_up(
    case: Case, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    create, late = MlflowClient.create_run, []

    def slow(*args: object, **kwargs: object) -> object:
        if len(late) < 3:
            late.append((args, kwargs))
            raise MlflowException("timed out")
        return create(*args, **kwargs)

    writer = load_writer(case.sweep, case.plan, case.store)
    monkeypatch.setattr(MlflowClient, "create_run", slow)
    for record in case.records.values():
        while True:
            try:
                writer.landed(record)
                break
            except TrackingError:
                continue
    for args, kwargs in late:
        create(*args, **kwargs)
    writer.settle()
    assert content(case.sweep) == undisturbed


def test_what_one_process_left_the_next_one_delivers(
    case: Case, undisturbed: dict[str, object]
) -> None:
    never_started = case.tracker()
    for record in case.records.values():
        never_started.landed(record)
    assert never_started.close(0) == len(case.plan.units)
    file = case.spool / "events.jsonl"
    file.write_bytes(file.read_bytes() + b'\n{"number": 99, "is": "landed", "unit": "0123')
    following = case.tracker()
    following.start()
    assert following.close(60) == 0
    assert content(case.sweep) == undisturbed


def test_units_that_the_sweep_no_longer_has_are_dropped(case: Case) -> None:
    first = case.tracker()
    for record in case.records.values():
        first.landed(record)
    first.close(0)
    smaller = case.sweep.model_copy(update={"methods": case.sweep.methods[:1]})
    second = Tracker(smaller, expand(smaller), case.store, case.spool)
    assert second.close(0) == len(expand(smaller).units)


def test_a_subnetwork_of_an_earlier_sweep_comes_along(case: Case) -> None:
    """Only its fine-tune ran now, so only that is told."""
    tracker = case.tracker()
    tracker.start()
    tracker.landed(case.records[case.unit(kind="finetune", method="tamt_kd", seed=2).id])
    assert tracker.close(60) == 0
    parent = named(case, "tamt_kd 0.3 mask-seed 1 (bert)")
    assert named(case, "stsb seed 2").data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["best"] == 0.75
    assert "tamt.complete" not in parent.data.tags, "its evaluation is not in"


# --- trouble -------------------------------------------------------------------------------


def test_one_unit_that_cannot_be_written_does_not_stop_the_others(case: Case) -> None:
    bad, good = (case.unit(kind="finetune", method="full", seed=seed) for seed in (1, 2))
    (path,) = (Path(case.store.uri) / "units" / "finetune" / bad.id).glob("history.*.parquet")
    path.write_bytes(b"not what the record vouches for")
    tracker = case.tracker()
    tracker.start()
    tracker.landed(case.records[bad.id])
    tracker.landed(case.records[good.id])
    assert tracker.close(60) == 1
    assert path.name in str(tracker.problem)
    assert named(case, "stsb seed 2").data.tags["tamt.complete"] == "true"
    report = sync(case.sweep, case.plan, case.store, case.records)
    assert list(report.refused) == [bad.id]
    assert bad.id[:12] in str(report)


@pytest.mark.usefixtures("impatient")
def test_a_database_locked_longer_than_its_timeout(
    case: Case, undisturbed: dict[str, object]
) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def short(_c: object, _k: object, sql: str, values: object, *_: object) -> tuple[str, object]:
        return sql.replace("busy_timeout = 20000", "busy_timeout = 100"), values

    event.listen(Engine, "before_cursor_execute", short, retval=True)
    other = sqlite3.connect(case.sweep.mlflow.removeprefix("sqlite:///"))
    tracker = case.tracker()
    try:
        other.execute("BEGIN IMMEDIATE")
        tracker.start()
        before = time.monotonic()
        for record in case.records.values():
            tracker.landed(record)
        assert time.monotonic() - before < 2, "the driver does not wait"
        until(lambda: tracker.problem)
        assert "database is locked" in str(tracker.problem)
        other.rollback()
        assert tracker.close(60) == 0
    finally:
        other.close()
        event.remove(Engine, "before_cursor_execute", short)
    assert tracker.problem is None
    assert content(case.sweep) == undisturbed


@pytest.mark.usefixtures("impatient")
def test_a_deleted_experiment_is_told(case: Case) -> None:
    mlflow = client(case.sweep.mlflow)
    mlflow.delete_experiment(mlflow.create_experiment("demo"))
    tracker = case.tracker()
    tracker.start()
    tracker.landed(next(iter(case.records.values())))
    until(lambda: tracker.problem)
    assert "experiment 'demo' is deleted" in str(tracker.problem)
    assert tracker.close(0.1) == 1


def test_without_mlflow_the_user_is_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tamt_ray.tracking.writer", None)
    tracker = case.tracker()
    tracker.start()
    tracker.landed(next(iter(case.records.values())))
    assert tracker.close(10) == 1
    assert "mlflow cannot be imported" in str(tracker.problem)


def test_importing_the_tracker_imports_no_mlflow() -> None:
    code = (
        "import sys, tamt_ray.tracking.tracker; assert not {'mlflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- a real server -------------------------------------------------------------------------


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
