"""`classes` that a sweep leaves to its data: found before ids are made, and the same everywhere."""

import json
from pathlib import Path

import pytest
import yaml

from tamt_ray.cli.doctor import as_planned
from tamt_ray.cli.results import publish_records
from tamt_ray.cli.rows import keep_settled
from tamt_ray.cli.sweep_context import SweepContext, open_sweep
from tamt_ray.execution.cluster.diagnosis import about_rows
from tamt_ray.spec.load import load_sweep

from .small import SWEEP, call

FILE = Path("small.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAMT_MIRROR", raising=False)
    return tmp_path


def sweep(labels: list[object] | None, **settings: object) -> SweepContext:
    """Open the small sweep as a classification with these labels; None: its rows are elsewhere."""
    write(labels, **settings)
    return open_sweep(FILE)


def write(labels: list[object] | None, **settings: object) -> None:
    body = yaml.safe_load(SWEEP.format(store="results"))
    body["tasks"]["stsb"] |= {"kind": "classification", "text": ["a"], **settings}
    if labels is None:
        for name in ("s.csv", "t.csv"):
            Path(name).unlink(missing_ok=True)
    else:
        text = "".join(f"word,{label}\n" for label in labels)
        for name in ("s.csv", "t.csv"):
            Path(name).write_text(f"a,label\n{text}")
        for name in ("a.txt", "b.txt"):
            Path(name).write_text("a text\n")
    FILE.write_text(yaml.safe_dump(body))


def ids(opened: SweepContext) -> set[str]:
    return set(opened.plan.units)


def test_two_classes_have_the_ids_that_they_had_without_data() -> None:
    elsewhere = ids(sweep(None))
    assert ids(sweep([0, 1, 1])) == ids(sweep([0, 1], classes=2)) == elsewhere


@pytest.mark.parametrize(
    ("labels", "stated"),
    [([5, 0, 1, 2, 3, 4, 4], 6), (["b", "a", "c"], ["a", "b", "c"])],
    ids=["numbers", "names"],
)
def test_classes_of_the_rows_have_the_ids_of_stated_ones(
    labels: list[object], stated: object
) -> None:
    found = sweep(labels)
    assert ids(found) == ids(sweep(labels, classes=stated)) != ids(sweep(None))
    sweep(labels)
    assert call("plan", FILE).exit_code == 0


def test_plan_says_what_the_rows_decided() -> None:
    sweep([0, 1, 2])
    said = call("plan", FILE).stdout
    assert "tasks.stsb.classes: 3, from its training rows\n" in said


@pytest.mark.parametrize("labels", [[1, 2, 3], ["no", "yes"], [0.5, 1.5]], ids=str)
def test_labels_that_leave_it_open_are_asked_for(labels: list[object]) -> None:
    """Numbers with a gap, two names, whose order decides F1, and no classes at all."""
    assert ids(sweep(labels)) == ids(sweep(None))
    sweep(labels)
    refused = call("plan", FILE)
    assert refused.exit_code == 2
    assert "set `c" in refused.stderr


def test_a_store_tells_machines_without_the_rows(folder: Path) -> None:
    here = sweep([0, 1, 2])
    keep_settled(here)
    assert ids(sweep(None)) == ids(here)
    publish_records(here, folder / "public")
    assert json.loads((folder / "public/reports/small/settled.json").read_text()) == json.loads(
        (folder / "results/reports/small/settled.json").read_text()
    )


def test_a_source_out_of_reach_ends_no_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMT_MIRROR", "abc://nothing")
    away = {"source": "hf:nyu-mll/glue#sst2", "split": "train"}
    assert ids(sweep([0, 1], train=away, validation=[away]))


def test_another_run_of_the_sweep_forgets_nothing(folder: Path) -> None:
    here = sweep([0, 1, 2])
    keep_settled(here)
    keep_settled(sweep([0, 1], classes=2))
    assert ids(sweep(None)) == ids(here)
    (folder / "results/reports/small/settled.json").write_text("[1]")
    assert ids(sweep(None)) != ids(here)


def test_a_union_reads_what_rows_decided_for_its_parts() -> None:
    here = sweep([0, 1, 2])
    keep_settled(here)
    sweep(None)
    Path("both.yaml").write_text("name: both\nstore: results\nparts: [small.yaml]\n")
    assert ids(open_sweep(Path("both.yaml"))) == ids(here)


def test_rows_that_changed_move_no_id_and_are_refused() -> None:
    before = sweep([0, 1, 2])
    keep_settled(before)
    assert ids(sweep([0, 1])) == ids(before)
    refused = call("plan", FILE)
    assert refused.exit_code == 2
    complaint = "`classes` is 2, and the store's results have 3; set"
    assert complaint in refused.stderr
    found = about_rows(as_planned(load_sweep(FILE)))
    assert not found.passed
    assert complaint in found.said


def test_doctor_counts_classes_where_the_store_cannot_be_used(folder: Path) -> None:
    (folder / "results").write_text("no folder")
    write([0, 1, 2])
    task = as_planned(load_sweep(FILE)).tasks["stsb"]
    assert vars(task)["classes"] == 3


def test_a_union_keeps_what_rows_decided_for_its_parts_too() -> None:
    here = sweep([0, 1, 2])
    Path("both.yaml").write_text("name: both\nstore: results\nparts: [small.yaml]\n")
    keep_settled(open_sweep(Path("both.yaml")))
    assert ids(sweep(None)) == ids(here)
