"""Masks out of files: checked before anything starts, and as good as the same ones found here."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tamt_ray.analysis.results import collect, collect_searches
from tamt_ray.analysis.roles import roles
from tamt_ray.execution.preflight import changes, check
from tamt_ray.execution.rows import PreflightError
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.file import mask_from_bytes
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.unit import Unit
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store

Made = tuple[Sweep, Plan, Store]
FILES = "dir:{folder}/{{model}}-{{sparsity}}-{{seed}}.safetensors"


@pytest.fixture
def sweep(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Made]:
    """The toy with OMP and random masks, and with files in `masks/`."""
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAMT_MIRROR", raising=False)
    toy["mask_seeds"] = [1, 2]
    (tmp_path / "masks").mkdir()

    def make(**settings: object) -> Made:
        method = {
            "method": "imported",
            "masks": FILES.format(folder=tmp_path / "masks"),
            **settings,
        }
        found = parse_sweep(yaml.safe_dump({**toy, "methods": ["random", "omp", method]}))
        return found, expand(found), Store(str(tmp_path / "results"))

    return make


def of(plan: Plan, kind: str, method: str) -> list[Unit]:
    return [u for u in plan.units.values() if u.kind == kind and u.cell.method == method]


def write_random_masks(plan: Plan, store: Store, folder: Path, bench: UnitRunner) -> None:
    """The random masks as files of flags, as another program might have found them."""
    for unit in of(plan, "search", "random"):
        mask = mask_from_bytes(store.artifact(bench.perform(unit), "mask.safetensors"))
        name = f"tiny-0.5-{unit.cell.mask_seed}.safetensors"
        save_file({f"bert.{n}": keep.to(torch.uint8) for n, keep in mask.items()}, folder / name)


def test_an_imported_mask_is_as_good_as_the_same_one_found_here(
    sweep: Callable[..., Made], tmp_path: Path
) -> None:
    """Same losses and same scores to the bit, and the file's digest in the record."""
    made, plan, store = sweep()
    bench = UnitRunner(store, ProcessGroup(torch.device("cpu")), "here")
    write_random_masks(plan, store, tmp_path / "masks", bench)
    known = check(made, plan.files).fingerprints
    files = sorted((tmp_path / "masks").iterdir())
    records: dict[str, Record] = {}
    for method in ("random", "imported"):
        for kind in ("search", "pretrain_eval", "finetune"):
            for unit in of(plan, kind, method):
                records[unit.id] = bench.perform(unit)

    def figures(kind: str, method: str) -> list[dict[str, float]]:
        return [records[unit.id].metrics for unit in of(plan, kind, method)]

    for kind in ("pretrain_eval", "finetune"):
        assert len(figures(kind, "imported")) == 2
        assert figures(kind, "imported") == figures(kind, "random")
    searches = of(plan, "search", "imported")
    assert [unit.cell.mask_seed for unit in searches] == [1, 2]
    for unit, file in zip(searches, files, strict=True):
        record = records[unit.id]
        assert record.sources[f"dir:{file}"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert record.metrics.keys() == {"zeros", "weights", "sparsity"}
    assert changes(plan.units, records, known) == []

    save_file({"x": torch.zeros(1)}, files[0])
    now = {**known, f"dir:{files[0]}": "another"}
    (change,) = changes(plan.units, records, now)
    assert (change.source, change.units) == (f"dir:{files[0]}", 1)


def test_tables_say_nothing_of_what_it_cost_and_claims_leave_it_out(
    sweep: Callable[..., Made], tmp_path: Path
) -> None:
    made, plan, store = sweep(name="mine")
    bench = UnitRunner(store, ProcessGroup(torch.device("cpu")), "here")
    write_random_masks(plan, store, tmp_path / "masks", bench)
    records = {unit.id: bench.perform(unit) for unit in of(plan, "search", "mine")}
    rows = collect_searches(plan, records).filter(method="mine")
    assert rows["zeros"].drop_nulls().len() == 2
    assert rows["iterations"].to_list() == rows["search_seconds"].to_list() == [None, None]
    assert collect(plan, records).downstream.filter(method="mine").height == 2
    assert roles(made) == {"random": "random", "omp": "omp"}


def test_one_file_for_all_seeds(sweep: Callable[..., Made], tmp_path: Path) -> None:
    _, plan, _ = sweep(masks=f"dir:{tmp_path}/mine.safetensors")
    (unit,) = of(plan, "search", "imported")
    assert unit.cell.mask_seed is None
    assert len(of(plan, "finetune", "imported")) == 1


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        ("absent", "cannot be read: No such file"),
        ("other", "x is none of the matrices"),
    ],
)
def test_what_is_no_mask_is_refused_before_anything_starts(
    harm: str, complaint: str, sweep: Callable[..., Made], tmp_path: Path
) -> None:
    made, plan, _ = sweep()
    if harm == "other":
        save_file({"x": torch.zeros(1)}, tmp_path / "masks" / "tiny-0.5-1.safetensors")
    place = r"methods.imported: dir:.*tiny-0.5-1.safetensors: "
    with pytest.raises(PreflightError, match=f"{place}.*{complaint}"):
        check(made, plan.files)
