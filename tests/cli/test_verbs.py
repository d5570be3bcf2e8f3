"""What a person types, what it prints and where, and the code it ends with."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tamt_ray.cli.app import app
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.status import unit_path
from tamt_ray.plan.unit import Unit
from tamt_ray.store.record import Failure
from tamt_ray.store.store import Store

from .small import by_path, call, finish

ROOT = Path(__file__).parents[2]
TOTALS = {"head": 0, "search": 3, "pretrain_eval": 4, "finetune": 4}


def break_down(store: Store, unit: Unit) -> None:
    store.fail(Failure(
        id=unit.id, kind=unit.kind, cell=unit.cell, error="FloatingPointError",
        message="the loss is nan [at step 3]", traceback="…", attempts=1, at=1.7e9,
    ))  # fmt: skip


def test_the_schema_is_one_json_object() -> None:
    said = call("schema")
    assert said.exit_code == 0
    assert json.loads(said.stdout)["else"]["title"] == "Sweep"
    assert said.stderr == ""


@pytest.mark.parametrize("words", [["plan"], ["status"], ["run", "--dry-run"]])
def test_counts_as_json(words: list[str], file: Path, plan: Plan, store: Store) -> None:
    finish(store, by_path(plan, "search/mini/omp/0.5"))
    break_down(store, by_path(plan, "search/mini/random/0.5/1"))
    said = call(words[0], file, *words[1:], "--json")
    assert said.exit_code == 0
    body = json.loads(said.stdout)
    assert body["masks"] == 3
    found = {kind: counts["total"] for kind, counts in body["units"].items()}
    assert found == TOTALS
    search, tunes = body["units"]["search"], body["units"]["finetune"]
    assert (search["done"], search["failed"], search["to_run"]) == (1, 1, 1)
    assert (tunes["to_run"], tunes["waiting"], tunes["blocked"]) == (3, 1, 1)


def test_the_plan_for_people(file: Path) -> None:
    said = call("plan", file)
    assert said.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in said.stdout.splitlines() if line.strip()}
    assert rows["search"][:4] == ["3", "0", "3", "0"]
    assert rows["pretrain_eval"][:4] == ["4", "0", "4", "3"]
    assert f"run it: python -m tamt_ray.sweep {file}" in said.stdout
    assert "micro_batch" not in said.stdout  # No search of it trains.
    assert not (file.parent / "results").exists()


def test_the_plan_of_a_part(file: Path) -> None:
    body = json.loads(call("plan", file, "--only", "finetune/*/omp/*", "--json").stdout)
    assert {kind: counts["total"] for kind, counts in body["units"].items()} == {
        "head": 0, "search": 1, "pretrain_eval": 0, "finetune": 1,
    }  # fmt: skip


def test_a_pattern_that_matches_nothing_is_a_mistake(file: Path) -> None:
    for words in (["plan", file], ["run", file, "--dry-run"]):
        said = call(*words, "--only", "finetune/*/opm/*")
        assert (said.exit_code, said.stdout) == (2, "")
        assert "no unit's path matches 'finetune/*/opm/*'" in said.stderr


def test_failed_units_may_be_tried_again(file: Path, plan: Plan, store: Store) -> None:
    break_down(store, by_path(plan, "search/mini/omp/0.5"))
    again = call("run", file, "--dry-run", "--json", "--retry-failed")
    assert json.loads(again.stdout)["units"]["search"]["to_run"] == 3


def test_the_status_names_failures_with_their_reason(file: Path, plan: Plan, store: Store) -> None:
    unit = by_path(plan, "search/mini/random/0.5/2")
    break_down(store, unit)
    said = call("status", file)
    assert said.exit_code == 0
    assert (
        f"search mini random 0.5 2 [{unit.id[:8]}]: FloatingPointError: "
        "the loss is nan [at step 3]" in said.stdout
    )


def test_a_unit_that_has_a_record_is_done_whatever_failed_before(
    file: Path, plan: Plan, store: Store
) -> None:
    """A worker may die between its record and the removal of the old failure."""
    unit = by_path(plan, "search/mini/omp/0.5")
    finish(store, unit)
    break_down(store, unit)
    body = json.loads(call("status", file, "--json").stdout)
    assert (body["units"]["search"]["done"], body["units"]["search"]["failed"]) == (1, 0)
    assert "FloatingPointError" not in call("status", file).stdout


def test_a_unit_explained_by_path_and_by_id(file: Path, plan: Plan, store: Store) -> None:
    unit = by_path(plan, "pretrain_eval/mini/omp/0.5")
    by_its_path = call("explain", file, "pretrain_eval/*/omp/*")
    body = json.loads(by_its_path.stdout)
    assert body["id"] == unit.id
    assert body["path"] == "pretrain_eval/mini/omp/0.5"
    assert body["parents"] == [by_path(plan, "search/mini/omp/0.5").id]
    assert body["config"]["mask"] == body["parents"][0]
    assert body["config"]["text"] == {"table": {"source": "dir:b.txt"}}
    assert "runs after" in body["decision"]
    assert call("explain", file, unit.id[:12]).stdout == by_its_path.stdout
    finish(store, by_path(plan, "search/mini/omp/0.5"))
    assert "everything it needs" in json.loads(call("explain", file, unit.id).stdout)["decision"]


@pytest.mark.parametrize(("chosen", "count"), [("finetune/*", 4), ("search/*/random/*", 2)])
def test_a_choice_of_several_lists_them(chosen: str, count: int, file: Path, plan: Plan) -> None:
    said = call("explain", file, chosen)
    assert (said.exit_code, said.stdout) == (2, "")
    assert f"{count} units of {file} match '{chosen}'" in said.stderr
    listed = [line.split() for line in said.stderr.splitlines()[1:]]
    assert len(listed) == count
    assert all(unit_path(plan.units[u]) == path for start, path in listed
               for u in plan.units if u.startswith(start))  # fmt: skip


def test_a_choice_of_none_lists_what_there_is(file: Path, plan: Plan) -> None:
    said = call("explain", file, "nothing")
    assert (said.exit_code, said.stdout) == (2, "")
    assert "0 units" in said.stderr
    assert len(said.stderr.splitlines()) == 1 + len(plan.units)


def test_a_mask_is_exported(file: Path, plan: Plan, store: Store, tmp_path: Path) -> None:
    finish(store, by_path(plan, "search/mini/omp/0.5"))
    to = tmp_path / "my [mask].safetensors"
    said = call("export", file, "search/mini/omp/*", to)
    assert said.exit_code == 0, said.stderr
    assert said.stdout.strip() == str(to)
    assert mask_from_bytes(to.read_bytes())["w"].equal(torch.eye(4, 5, dtype=torch.bool))


def test_exports_that_cannot_be(file: Path, plan: Plan, store: Store, tmp_path: Path) -> None:
    unit = by_path(plan, "search/mini/omp/0.5")
    to = tmp_path / "mask.safetensors"
    assert call("export", file, unit.id, to).exit_code == 2, "it is not done yet"
    finish(store, unit)
    nowhere = call("export", file, unit.id, tmp_path / "absent" / "mask.safetensors")
    assert nowhere.exit_code == 2
    assert "cannot be written" in nowhere.stderr
    (path,) = (tmp_path / "results" / "units" / "search" / unit.id).glob("mask.*")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    damaged = call("export", file, unit.id, to)
    assert damaged.exit_code == 2
    assert str(path) in damaged.stderr
    assert not to.exists()


VERBS = [["run"], ["run", "--dry-run"], ["plan"], ["status"], ["report"], ["sync-mlflow"]]


@pytest.mark.parametrize("words", [*VERBS, ["explain", "x"], ["export", "x", "y"]], ids=" ".join)
def test_every_verb_refuses_a_bad_file_alike(words: list[str], file: Path) -> None:
    file.write_text(file.read_text().replace("[random, omp]", "\n  - random\n  - ompp"))
    said = call(words[0], file, *words[1:])
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr == f"{file}:8: unknown method 'ompp' in `methods.1`; did you mean `omp`?\n"
    assert not (file.parent / "results").exists()


@pytest.mark.parametrize("line", [100, 1234])
def test_a_line_number_is_no_emoji(line: int, file: Path) -> None:
    file.write_text("#\n" * (line - 1) + "nmae: small\n" + file.read_text())
    said = call("plan", file)
    assert f"{file}:{line}: unknown key `nmae`" in said.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    said = call("plan", tmp_path / "absent.yaml")
    assert (said.exit_code, said.stdout) == (2, "")
    assert "absent.yaml: cannot be read" in said.stderr


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_store_of_another_format_ends_with_two(words: list[str], file: Path) -> None:
    results = file.parent / "results"
    results.mkdir()
    (results / "store.json").write_text("1\n")
    said = call(words[0], file, *words[1:])
    assert (said.exit_code, said.stdout) == (2, "")
    assert "was written in format 1, this version reads 3" in said.stderr
    assert [path.name for path in results.iterdir()] == ["store.json"]


def test_a_store_that_is_a_file_ends_with_two(file: Path) -> None:
    (file.parent / "results").write_text("mine")
    said = call("plan", file)
    assert said.exit_code == 2
    assert "cannot be used: it is a file" in said.stderr


def test_unknown_options_and_verbs_end_with_two(file: Path) -> None:
    assert call("plan", file, "--nonsense").exit_code == 2
    assert call("paln", file).exit_code == 2
    assert call("export", file).exit_code == 2


def front_door(*words: object) -> tuple[subprocess.CompletedProcess[str], set[str], float]:
    """A run of its own; also the libraries it imported, and its seconds."""
    begin = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tamt_ray.sweep", *map(str, words)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    seconds = time.monotonic() - begin
    imported = {m[1] for m in re.finditer(r"\| +(\w+)[\w.]*$", ran.stderr, re.MULTILINE)}
    assert "pydantic" in imported, "the import log is read wrongly"
    return ran, imported, seconds


def module(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_the_module_has_the_verbs_of_tamt(file: Path) -> None:
    ran = module("tamt_ray", "plan", file, "--json")
    assert ran.returncode == 0, ran.stderr
    found = {kind: counts["total"] for kind, counts in json.loads(ran.stdout)["units"].items()}
    assert found == TOTALS


def test_a_shell_completes_verbs() -> None:
    shell = {"_TAMT_COMPLETE": "complete_bash", "COMP_WORDS": "tamt st", "COMP_CWORD": "1"}
    said = CliRunner().invoke(app, [], env=shell, prog_name="tamt")
    assert said.stdout.split() == ["status"]


def test_a_verb_at_the_front_door_ends_with_the_command_to_type() -> None:
    ran = module("tamt_ray.sweep", "sync-mlflow", "my x.yaml")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "python -m tamt_ray.sweep runs a sweep file, and sync-mlflow is a verb of tamt; "
        "type: tamt sync-mlflow 'my x.yaml'\n"
    )


def test_a_file_without_a_verb_ends_with_the_command_to_type() -> None:
    ran = module("tamt_ray", "my x.yaml", "--dry-run")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "a verb stands before the file; type: tamt run 'my x.yaml' --dry-run\n"


def test_a_sweep_that_is_done_is_shown_and_nothing_starts(
    file: Path, plan: Plan, store: Store, tmp_path: Path
) -> None:
    finish(store, *plan.units.values())
    assert call("run", file).exit_code == 0
    page = tmp_path / "results" / "reports" / "small" / "report.html"
    assert page.is_file(), "whoever computed the units: a finished sweep has its report"
    written = page.stat().st_mtime_ns
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "units").rglob("*")}
    ran, imported, seconds = front_door(file)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert not imported & {"ray", "torch", "mlflow", "transformers", "datasets"}
    assert seconds < 10 * 2, "twice the promise, for a busy machine"
    assert "11 units, 11 done, 0 to run" in ran.stderr
    for word in ("full", "random", "omp", "75.0"):
        assert word in ran.stdout
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "units").rglob("*")}
    assert before == after
    assert page.stat().st_mtime_ns == written
    assert str(page) in ran.stderr
    assert not list(tmp_path.rglob("*.db"))


def test_a_sweep_with_nothing_left_but_failures_ends_with_one(
    file: Path, plan: Plan, store: Store
) -> None:
    bad = by_path(plan, "finetune/mini/full/0.0/stsb/1")
    finish(store, *(unit for unit in plan.units.values() if unit is not bad))
    break_down(store, bad)
    said = call("run", file, "--json")
    assert said.exit_code == 1
    assert json.loads(said.stdout)["failed"] == [bad.id]
    assert "the loss is nan [at step 3]" in said.stderr
    assert f"python -m tamt_ray.sweep {file} --retry-failed" in said.stderr
