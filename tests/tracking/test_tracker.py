"""What MLflow holds of a sweep, in the words that people read there."""

import base64
import json
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tamt_ray import __version__
from tamt_ray.analysis.results import collect
from tamt_ray.analysis.stats.averages import AVERAGE, means
from tamt_ray.analysis.stats.averages import runs as runs_of
from tamt_ray.data.history import History, Point
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.record import Failure, Record
from tamt_ray.tracking.place import ui_command
from tamt_ray.tracking.summary import Summary
from tamt_ray.tracking.sync import sync
from tamt_ray.tracking.tracker import Tracker

from .tracker_cases import T0, YAML, Case, client, finish, named, runs, scores, until


def test_two_levels_with_names_people_can_read(undisturbed: dict[str, dict[str, object]]) -> None:
    name_of = {key: run["name"] for key, run in undisturbed.items()}
    tree = Counter((run["name"], name_of.get(run["parent"])) for run in undisturbed.values())
    parents = {"full (bert)", "imp 0.3 mask 1 (bert)", "tamt_kd 0.3 mask 1 (bert)"}
    alone = {"imp 0.2 mask 1 (bert, level on the way)", "mlm-head (bert)"}
    dense = {"full (bert)": "full (bert)"}
    expected = {(name, None) for name in parents | alone}
    expected |= {
        (f"stsb seed {seed}, {dense.get(parent, parent)}", parent)
        for seed in (1, 2)
        for parent in parents
    }
    assert tree == Counter(expected)


def test_a_subnetwork_holds_its_search_its_losses_and_its_scores(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tamt_ray.tracking.writer.commit", lambda: "0123abcd")
    unit = case.unit(kind="search", method="tamt_kd")
    tracker = case.tracker()
    tracker.start()
    for chosen in (
        {"kind": "search"}, {"kind": "pretrain_eval"}, {"kind": "finetune", "seed": 2}
    ):  # fmt: skip
        record = case.records[case.unit(method="tamt_kd", **chosen).id]
        known = {"baseline/pearson": 0.125} if record.kind == "finetune" else {}
        tracker.landed(record.model_copy(update={"metrics": {**record.metrics, **known}}))
    assert tracker.close(60) == 0
    run = named(case, "tamt_kd 0.3 mask 1 (bert)")
    tags = {key.removeprefix("tamt."): value for key, value in run.data.tags.items()}
    assert tags["unit"] == unit.id
    named_so = ("kind", "role", "model", "method", "sparsity", "mask_seed", "device", "place")
    assert [tags[key] for key in named_so] == [
        "search", "compared", "bert", "tamt_kd", "0.3", "1", "cpu", "node-1"
    ]  # fmt: skip
    assert tags["mlflow.user"]
    assert tags["mlflow.source.name"] == f"tamt_ray {__version__}"
    assert tags["mlflow.source.git.commit"] == "0123abcd", "of this software, not of the directory"
    assert run.data.metrics["pretrain/kd_loss"] == 0.25
    assert run.data.metrics["zeros"] == 40
    assert run.data.metrics["system/cpu_seconds"] == 40.5
    assert run.data.metrics["system/seconds"] == 50.5
    percent = "average percent"
    scores = ("score/stsb", "score/average", f"{percent}/at sparsity 0.3",
              f"{percent}/over sparsity")  # fmt: skip
    assert [run.data.metrics[name] for name in scores] == [0.75, 0.75, 75, 75]
    assert run.data.metrics["score/baseline"] == 0.125
    assert run.data.params["training.batch_size"] == "16", "defaults are shown as well"
    assert run.data.params["model.source"] == "hf:bert"
    mlflow = client(case.sweep.mlflow)
    (over,) = mlflow.get_metric_history(run.info.run_id, f"{percent}/over sparsity")
    assert over.step == 30
    record = case.records[unit.id]
    curve = mlflow.get_metric_history(run.info.run_id, "search/loss")
    started = round(record.started * 1000)
    assert [(p.step, p.timestamp) for p in curve] == [(s, started + 1000 * s) for s in range(20)]
    assert run.info.start_time == started
    assert run.info.end_time == started + 50_500, "waiting for the evaluation is not searching"
    child = named(case, "stsb seed 2, tamt_kd 0.3 mask 1 (bert)")
    labels = ("method", "sparsity", "mask_seed", "task", "seed")
    assert [child.data.params[name] for name in labels] == ["tamt_kd", "0.3", "1", "stsb", "2"]


def test_data_sets_have_their_part_and_the_model_is_none(case: Case) -> None:
    unit = case.unit(kind="finetune", method="full", seed=1)
    sync(case.sweep, case.plan, case.store, {unit.id: case.records[unit.id]})
    run = named(case, "stsb seed 1, full (bert)")
    found = {(i.dataset.name, i.tags[0].value) for i in run.inputs.dataset_inputs}
    assert found == {("glue#stsb#train", "train"), ("glue#stsb#validation", "validation")}


def test_scores_are_those_of_the_report(case: Case) -> None:
    """Two seeds of two; of a second task only one, so the average is over that seed alone."""
    text = YAML.format(uri=case.sweep.mlflow)
    sweep = parse_sweep(text + text[text.index("  stsb:") :].replace("stsb", "rte"))
    plan = expand(sweep)
    records: dict[str, Record] = {}
    for number, unit in enumerate(plan.units.values()):
        record, _ = finish(unit, T0 + 100 * number, number)
        if unit.kind == "finetune":
            record = record.model_copy(
                update={"metrics": scores(unit, pearson=number / 64, spearman=0.5)}
            )
        if (unit.cell.task, unit.cell.seed) != ("rte", 2):
            records[unit.id] = record
    found = {
        (row["method"], row["task"]): row["mean"] / 100
        for row in means(runs_of(collect(plan, records).downstream)).iter_rows(named=True)
    }
    sync(sweep, plan, case.store, records)
    for run in runs(sweep):
        if run.data.tags.get("tamt.role") == "compared":
            method = run.data.params["method"]
            for name, task in (("average", AVERAGE), ("stsb", "stsb"), ("rte", "rte")):
                assert run.data.metrics[f"score/{name}"] == pytest.approx(found[method, task])


def test_a_running_unit_has_a_live_curve_and_keeps_its_run(case: Case) -> None:
    unit = case.unit(kind="search", method="tamt_kd")
    record = case.records[unit.id]
    points = History.from_parquet(case.store.artifact(record, "history.parquet"))
    tracker = case.tracker()
    tracker.start()
    tracker.began(unit.id)
    tracker.progressed(unit.id, points[:4])
    mlflow, name = client(case.sweep.mlflow), "tamt_kd 0.3 mask 1 (bert)"
    until(lambda: any(run.data.metrics.get("search/loss") for run in runs(case.sweep)))
    running = named(case, name)
    assert running.info.status == "RUNNING"
    curve = mlflow.get_metric_history(running.info.run_id, "search/loss")
    assert [point.step for point in curve] == [0, 1]
    tracker.landed(record)
    assert tracker.close(60) == 0
    done = named(case, name)
    assert (done.info.status, done.info.run_id) == ("FINISHED", running.info.run_id)
    curve = mlflow.get_metric_history(done.info.run_id, "search/loss")
    assert [point.step for point in curve] == list(range(20)), "each point once"


def test_a_lost_attempt_leaves_no_points_behind(case: Case) -> None:
    """Its run is shown as broken off, and the next attempt has a run of its own."""
    unit = case.unit(kind="finetune", method="full", seed=1)
    tracker = case.tracker()
    tracker.start()
    tracker.began(unit.id)
    tracker.progressed(unit.id, [Point(7, "loss", 99.0, T0)])
    until(lambda: any("finetune/loss" in run.data.metrics for run in runs(case.sweep)))
    tracker.left(unit.id)
    until(lambda: any(run.info.status == "KILLED" for run in runs(case.sweep)))
    tracker.began(unit.id)
    tracker.landed(case.records[unit.id])
    assert tracker.close(60) == 0
    run = named(case, "stsb seed 1, full (bert)")
    curve = client(case.sweep.mlflow).get_metric_history(run.info.run_id, "finetune/loss")
    assert 99.0 not in [point.value for point in curve]


def test_a_dead_driver_s_running_runs_are_broken_off_by_the_next(case: Case) -> None:
    unit = case.unit(kind="finetune", method="full", seed=1)
    first = case.tracker()
    first.start()
    first.began(unit.id)
    until(lambda: any(run.data.tags["tamt.kind"] == "finetune" for run in runs(case.sweep)))
    second = case.tracker()
    second.start()
    assert second.close(60) == 0
    run = named(case, "stsb seed 1, full (bert)")
    assert run.info.status == "KILLED"
    first.close(60)


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
        if len(sizes) == 3:
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
    run = named(case, "stsb seed 1, full (bert)")
    curve = client(case.sweep.mlflow).get_metric_history(run.info.run_id, "finetune/loss")
    assert [(point.step, point.value) for point in curve] == [(s, s / 8) for s in range(2300)]
    assert max(sizes) <= 1000
    assert sizes[1] == sizes[3] > 0, "the first request was made twice"


def test_a_failure_is_shown_until_the_unit_is_done(case: Case) -> None:
    unit = case.unit(kind="finetune", method="full", seed=1)
    failure = Failure(
        id=unit.id, kind=unit.kind, cell=unit.cell, error="NonFiniteLossError",
        message="the loss is nan at step 3", traceback="Traceback …", attempts=1, at=T0,
    )  # fmt: skip
    tracker = case.tracker()
    tracker.start()
    tracker.failed(failure)
    until(lambda: any(run.info.status == "FAILED" for run in runs(case.sweep)))
    run = named(case, "stsb seed 1, full (bert)")
    assert run.data.tags["tamt.error"] == "NonFiniteLossError: the loss is nan at step 3"
    tracker.landed(case.records[unit.id])
    assert tracker.close(60) == 0
    run = named(case, "stsb seed 1, full (bert)")
    assert run.info.status == "FINISHED"
    assert "tamt.error" not in run.data.tags
    assert run.info.start_time == round(case.records[unit.id].started * 1000)


def test_the_summary_run_and_the_experiment_carry_the_answer(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for score in (0.5, 0.625):
        note = f"omp wins at {score}\n\n| a |\n|---|\n"

        def describe(records: Mapping[str, Record], failed: Collection[str],
                     note: str = note, score: float = score) -> Summary:  # fmt: skip
            return Summary(note, {"a/b": score, "failed": len(failed)}, len(records), T0)

        tracker = Tracker(case.sweep, case.plan, case.store, describe)
        tracker.start()
        until(lambda note=note: any(
            run.data.tags.get("mlflow.note.content") == note and run.info.status == "RUNNING"
            for run in runs(case.sweep)
        ))  # fmt: skip
        table = b'{"columns":["method","score"],"data":[["omp",%f]]}' % score
        files = {"report.html": b"<p>%f" % score, "figures/a.png": b"png", "t/a.json": table}
        tracker.report(
            replace(describe(case.records, ()), files=files, tables=("t/a.json",), over=True)
        )
        assert tracker.close(60) == 0
    (run,) = [run for run in runs(case.sweep) if run.info.run_name == "summary of demo"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"a/b": 0.625, "failed": 0}
    mlflow = client(case.sweep.mlflow)
    experiment = mlflow.get_experiment_by_name("demo")
    assert experiment
    assert experiment.tags["mlflow.note.content"] == run.data.tags["mlflow.note.content"] == note
    paths = [file.path for file in mlflow.list_artifacts(run.info.run_id)]
    assert paths == ["figures", "report.html", "t"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", case.sweep.mlflow)
    shown = mlflow.load_table(experiment.experiment_id, "t/a.json", [run.info.run_id])
    assert shown.values.tolist() == [["omp", 0.625]], "MLflow's own reader of log_table"
    assert run.info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())
    got = mlflow.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert Path(got).read_bytes() == b"<p>0.625000"


def test_the_link_opens_a_saved_view_that_compares_the_methods(case: Case) -> None:
    tracker = case.tracker()
    tracker.start(case.records)
    assert tracker.close(60) == 0
    mlflow = client(case.sweep.mlflow)
    experiment = mlflow.get_experiment_by_name("demo")
    assert experiment
    assert tracker.link
    page, _, query = tracker.link.partition("?")
    assert page == f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs"
    chosen = parse_qs(query)
    assert chosen["workflowType"] == ["machine_learning"]
    (key,) = chosen["viewStateShareKey"]
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    kind, _, packed = view["state"].partition(";")
    assert kind == "deflate"
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    shown = mlflow.search_runs([experiment.experiment_id], state["searchFilter"])
    assert {run.data.params["method"] for run in shown} == {"full", "imp", "tamt_kd"}
    metrics = {name for run in shown for name in run.data.metrics}
    assert {chart["metricKey"] for chart in state["compareRunCharts"]} <= metrics


def test_the_command_to_look_at_it(case: Case) -> None:
    def command(uri: str) -> str:
        return ui_command(case.sweep.model_copy(update={"mlflow": uri}))

    # From wherever it is typed.
    here = f"sqlite:///{Path.cwd()}"
    assert command("sqlite:///mlflow.db") == f"mlflow ui --backend-store-uri {here}/mlflow.db"
    for name in ("my runs.db", "my  runs.db", f"{'long ' * 60}.db"):
        quoted = f"'{here}/{name}'"
        assert command(f"sqlite:///{name}") == f"mlflow ui --backend-store-uri {quoted}"
    assert command("https://me:secret@mlflow.example:5000") == "https://***@mlflow.example:5000"
