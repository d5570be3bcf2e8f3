"""`tamt publish`: a folder of records that reports are made from, and that a run goes on from."""

import shutil
from pathlib import Path

import pytest

from tamt_ray.cli.sweep_context import held, open_sweep
from tamt_ray.plan.expand import Plan
from tamt_ray.store.store import Store

from .small import by_path, call, finish


@pytest.fixture
def unfinished(plan: Plan) -> str:
    """A fine-tune that reads the mask of `random` 1."""
    return by_path(plan, "finetune/mini/random/0.5/1/stsb/1").id


@pytest.fixture
def published(file: Path, plan: Plan, store: Store, tmp_path: Path, unfinished: str) -> Path:
    """All but one fine-tune, without masks."""
    finish(store, *(unit for unit in plan.units.values() if unit.id != unfinished))
    said = call("publish", file, tmp_path / "records")
    assert said.stdout == f"{len(plan.units) - 1} records in {tmp_path / 'records'}\n"
    return tmp_path / "records"


def test_what_is_published_gives_the_same_table(file: Path, published: Path) -> None:
    assert not list(published.rglob("*.safetensors"))
    there = call("results", file, "--set", f"store={published}")
    assert there.stdout == call("results", file).stdout
    assert there.exit_code == 0
    assert call("verify", file, "--set", f"store={published}").exit_code == 0
    assert call("report", file, "--set", f"store={published}").exit_code == 0


def test_a_run_searches_again_only_what_a_missing_unit_reads(
    file: Path, plan: Plan, store: Store, published: Path, unfinished: str
) -> None:
    shutil.rmtree(store.uri)
    shutil.copytree(published, store.uri)
    opened = open_sweep(file)
    assert plan.units.keys() - opened.records.keys() == {unfinished}
    with held(opened, print) as (mine, _):
        search = by_path(plan, "search/mini/random/0.5/1").id
        assert plan.units.keys() - mine.records.keys() == {unfinished, search}
