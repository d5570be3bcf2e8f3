"""What MLflow holds of a sweep, in the words that people read there."""

from collections import Counter
from pathlib import Path

import pytest

from tamt_ray.data.history import History, Point
from tamt_ray.store.record import Failure
from tamt_ray.tracking.tracker import ui_command

from .tracker_cases import T0, Case, client, named, runs, until


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
    assert run.data.metrics["zeros"] == 40
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
        id=unit.id, kind=unit.kind, cell=unit.cell, error="NonFiniteLossError",
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

    # From wherever it is typed.
    here = f"sqlite:///{Path.cwd()}"
    assert command("sqlite:///mlflow.db") == f"mlflow ui --backend-store-uri {here}/mlflow.db"
    for name in ("my runs.db", "my  runs.db", f"{'long ' * 60}.db"):
        quoted = f"'{here}/{name}'"
        assert command(f"sqlite:///{name}") == f"mlflow ui --backend-store-uri {quoted}"
    assert command("https://me:secret@mlflow.example:5000") == "https://***@mlflow.example:5000"
