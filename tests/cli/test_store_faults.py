"""What a person reads when results are damaged, held by another, or made from other sources."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from tamt_ray.cli.sweep_context import held, open_sweep
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.table import load_rows
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.status import Decision, decide
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.lease import Lease, Pace
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.values.identity import written
from tamt_ray.values.table import Table

from .small import MASK, METRICS, SWEEP, by_path, call, finish


def mask_of(store: Store, unit: Unit) -> Path:
    (path,) = Path(store.uri, "units/search", unit.id).glob("mask.*")
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def counts(file: Path) -> dict[str, dict[str, int]]:
    return json.loads(call("status", file, "--json").stdout)["units"]


def everything(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_the_status_names_what_is_damaged_and_moves_nothing(
    file: Path, plan: Plan, store: Store, tmp_path: Path
) -> None:
    finish(store, *plan.units.values())
    unit = by_path(plan, "search/mini/omp/0.5")
    path = mask_of(store, unit)
    path.write_bytes(path.read_bytes()[:-3])
    before = everything(tmp_path)
    said = call("status", file)
    assert said.exit_code == 0
    line = next(line for line in said.stdout.splitlines() if line.startswith("damaged"))
    assert str(unit) in line
    assert path.name in line
    assert f"it has {len(MASK) - 3} bytes, its record says {len(MASK)}" in line
    assert counts(file)["search"]["to_run"] == 1
    assert everything(tmp_path) == before


def test_what_verifies_is_said(file: Path, plan: Plan, store: Store) -> None:
    finish(store, *plan.units.values())
    said = call("verify", file)
    assert said.exit_code == 0
    assert "11 results, 3 files, 0 damaged" in said.stdout


def test_verify_finds_a_flipped_bit_and_sets_it_aside_when_asked(
    file: Path, plan: Plan, store: Store, tmp_path: Path
) -> None:
    finish(store, *plan.units.values())
    unit = by_path(plan, "search/mini/omp/0.5")
    flip(mask_of(store, unit))
    before = everything(tmp_path)
    said = call("verify", file)
    assert said.exit_code == 1
    assert str(unit) in said.stdout
    assert f"set them aside: tamt verify {file} --quarantine" in said.stderr
    (found,) = json.loads(call("verify", file, "--json").stdout)["damaged"]
    assert found["path"] == "search/mini/omp/0.5"
    assert everything(tmp_path) == before
    assert counts(file)["search"]["to_run"] == 0, "sizes are right, so looking does not tell"

    done = call("verify", file, "--quarantine")
    assert done.exit_code == 1
    assert str(tmp_path / "results" / "quarantine" / "search" / unit.id) in done.stderr
    assert counts(file)["search"]["to_run"] == 1
    assert counts(file)["finetune"]["to_run"] == 0
    assert call("verify", file).exit_code == 0


def test_a_damaged_mask_is_set_aside_before_anything_reads_it(
    file: Path, plan: Plan, store: Store
) -> None:
    """A fine-tune is left to do: its mask is read in full first. What is not needed is not read."""
    needed, other = (by_path(plan, f"search/mini/{path}") for path in ("omp/0.5", "random/0.5/1"))
    left = by_path(plan, "finetune/mini/omp/0.5/stsb/1")
    finish(store, *(unit for unit in plan.units.values() if unit is not left))
    for unit in (needed, other):
        flip(mask_of(store, unit))
    said: list[str] = []
    with held(open_sweep(file), said.append) as (mine, lease):
        decisions = decide(mine.plan, mine.records, mine.failures)
        assert mine.store.fence == lease.fence
    to_do = {unit_id for unit_id, decision in decisions.items() if decision is not Decision.SKIP}
    assert to_do == {needed.id, left.id}, "the evaluation computed from the good mask stays"
    assert decisions[left.id] is Decision.WAIT
    (line,) = said
    assert str(needed) in line
    assert "it is kept in" in line


def test_a_second_driver_ends_with_three_and_names_the_first(
    file: Path, plan: Plan, store: Store, tmp_path: Path
) -> None:
    finish(store, by_path(plan, "search/mini/omp/0.5"))
    with Lease.acquire(store.files, "small", Pace(0.05, 60)):
        before = everything(tmp_path / "results" / "units")
        for words in (["run", file], ["verify", file, "--quarantine"]):
            if words[0] == "verify":
                flip(mask_of(store, by_path(plan, "search/mini/omp/0.5")))
                before = everything(tmp_path / "results" / "units")
            said = call(*words)
            assert said.exit_code == 3, said.stderr
            assert f"host {os.uname().nodename}, pid {os.getpid()}, since 20" in said.stderr
            assert everything(tmp_path / "results" / "units") == before
        for verb in ("plan", "status", "report"):
            assert call(verb, file).exit_code == 0, f"{verb} needs no lease"
        assert not (tmp_path / "results" / "quarantine").exists()


def test_an_edited_sweep_runs_only_what_is_new(
    file: Path, plan: Plan, store: Store, tmp_path: Path
) -> None:
    """One sparsity more and another task instead: old results stay, also those not wanted now."""
    finish(store, *plan.units.values())
    before = everything(tmp_path / "results")
    text = file.read_text()
    file.write_text(text.replace("[0.5]", "[0.5, 0.7]"))
    found = counts(file)
    assert {kind: each["to_run"] for kind, each in found.items()} == {
        "head": 0, "search": 3, "pretrain_eval": 3, "finetune": 3
    }  # fmt: skip
    assert {kind: each["done"] for kind, each in found.items()} == {
        "head": 0, "search": 3, "pretrain_eval": 4, "finetune": 4
    }  # fmt: skip
    file.write_text(text.partition("tasks:")[0])
    found = counts(file)
    assert found["finetune"]["total"] == 0
    assert found["search"]["to_run"] == found["pretrain_eval"]["to_run"] == 0
    file.write_text(text)
    assert all(each["to_run"] == 0 for each in counts(file).values())
    assert everything(tmp_path / "results") == before


def whole(tmp_path: Path, model_dir: Path) -> Path:
    """A sweep file whose sources are there."""
    draw = random.Random(0)
    for name in ("a.txt", "b.txt"):
        words = (" ".join(draw.choices("abcdefgh", k=20)) for _ in range(30))
        (tmp_path / name).write_text("\n".join(words) + "\n")
    for name in ("s.csv", "t.csv"):
        (tmp_path / name).write_text("a,b,label\n" + "a b,b a,0.5\na,b,0.7\n" * 2)
    text = SWEEP.format(store=tmp_path / "results").replace("dir:m", f"dir:{model_dir}")
    text = text.replace("corpus: {", "corpus: {block_size: 64, ")
    path = tmp_path / "whole.yaml"
    path.write_text(text.replace('"dir:', f'"dir:{tmp_path}/').replace(f"{tmp_path}//", "/"))
    return path


def test_a_data_set_that_changed_under_its_name_is_said_and_not_mixed(
    tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    # The run sets it for itself.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    file = whole(tmp_path, model_dir)
    plan, store = expand(load_sweep(file)), Store(str(tmp_path / "results"))
    data = Table(source=f"dir:{tmp_path}/s.csv")
    before = load_rows(data).fingerprint
    tunes = [unit for unit in plan.units.values() if unit.kind == "finetune"]
    for unit in tunes[:3]:
        record = Record(
            id=unit.id, kind=unit.kind, config=written(unit.config), parents=unit.parents,
            metrics=METRICS[unit.kind], started=1.7e9, seconds=1.0, device="cpu", place="here",
            sources={
                f"dir:{model_dir}": load_checkpoint(f"dir:{model_dir}").fingerprint,
                data.source: before,
            },
        )  # fmt: skip
        store.commit(record, {})
    time.sleep(0.01)
    (tmp_path / "s.csv").write_text("a,b,label\n" + "a b,b a,0.6\na,b,0.7\n" * 2)
    after = load_rows(data).fingerprint
    said = call("run", file)
    assert said.exit_code == 2
    assert f"{data.source} is not what it was: 3 results were computed" in said.stderr
    assert before in said.stderr
    assert after in said.stderr
    assert f"set `store:` in {file} to another place" in said.stderr
    assert len(store.done(plan.units)) == 3, "nothing ran"

    (tmp_path / "s.csv").unlink()
    gone = call("run", file)
    assert gone.exit_code == 2
    assert f": tasks.stsb: {data.source}: no file" in gone.stderr


def test_a_source_out_of_reach_at_its_first_use_ends_before_anything_runs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens where the mirror should be."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true",
        "TAMT_MIRROR": "s3://mirror?scheme=http&endpoint_override=127.0.0.1:9&region=here",
        "TAMT_CACHE": str(tmp_path / "cache"), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    file.write_text(file.read_text().replace("dir:m", "hf:some/model"))
    said = call("run", file)
    assert said.exit_code == 2
    assert f"{file}:4: models.mini: the mirror s3://mirror" in said.stderr
    assert "correct TAMT_MIRROR or unset it" in said.stderr
    assert not list((tmp_path / "results").rglob("record.json"))
    assert not list((tmp_path / "results").rglob("failure.json"))
