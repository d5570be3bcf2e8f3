"""The driver killed at random moments: nothing done is done again, and the tables are the same."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.chaos import Account, Result, Run, chaos, left_behind, processes
from tamt_ray.values.scratch import Scratch

Toy = dict[str, Any]


@pytest.mark.faults
def test_kills_of_the_driver(toy: Toy, tmp_path: Path) -> None:
    """Three of them; `python -m benchmarks.chaos FILE --rounds 20 --kind driver` does as many as
    one likes."""
    toy["methods"] = ["omp", {"method": "tamt_mlm", "steps": 6}]
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(toy))
    result = chaos([file], tmp_path, 3, random.Random(0), (3, 20), ("driver",))
    assert result.kills == {"driver": 3}
    assert result.units >= 8
    assert result.units % 8 == 0
    assert result.good, result


def test_a_committed_unit_that_is_begun_or_written_again_is_counted(tmp_path: Path) -> None:
    """By the log of another process, begun when its record was there, and by a changed record."""
    run = Run(tmp_path / "any.yaml", tmp_path / "run")
    account = Account(run)

    def record(unit: str, place: str) -> None:
        path = tmp_path / "run/store/units/finetune" / unit / "record.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"place": "{place}"}}')

    def log(name: str, unit: str, place: str) -> None:
        heading = (
            f"# 2026-01-01 10:00:00 +0000 finetune m omp 0.5 t 1 [{unit}], attempt 1 on {place}"
        )
        (tmp_path / "run/tmp" / f"tamt-log-{name}").write_text(heading + "\n")

    log("1", "aaaaaaaa", "here pid 1")
    account.look()
    record("aaaaaaaa", "here pid 1")
    log("2", "bbbbbbbb", "here pid 2")
    account.look()
    assert account.begun.keys() == set((tmp_path / "run/tmp").iterdir())
    assert (account.again(), account.recommitted) == (0, set())
    log("3", "bbbbbbbb", "here pid 3")
    account.look()
    assert (account.again(), account.recommitted) == (1, set()), "the first attempt was cut off"
    log("4", "aaaaaaaa", "here pid 4")
    account.look()
    assert account.recommitted == {"aaaaaaaa"}
    record("bbbbbbbb", "here pid 3")
    account.look()
    record("bbbbbbbb", "here pid 5")
    account.look()
    assert account.recommitted == {"aaaaaaaa", "bbbbbbbb"}


def test_lost_records_and_folders_that_are_left_are_counted(tmp_path: Path) -> None:
    calm, run = (
        Run(tmp_path / "any.yaml", tmp_path / "0"),
        Run(tmp_path / "any.yaml", tmp_path / "1"),
    )
    for folder, unit in (("0", "aaaaaaaa"), ("0", "bbbbbbbb"), ("1", "aaaaaaaa")):
        path = tmp_path / folder / "store/units/finetune" / unit / "record.json"
        path.parent.mkdir(parents=True)
        path.touch()
    assert run.lost({"aaaaaaaa": b"", "cccccccc": b""}, calm) == {"bbbbbbbb", "cccccccc"}
    (tmp_path / "1/store/tuning").mkdir()
    assert run.lost({"aaaaaaaa": b"", "cccccccc": b""}, calm) == {"cccccccc"}
    (run.temporary / "tamt-fleet-left").mkdir()
    with Scratch("fleet", run.temporary):
        assert left_behind(run.temporary) == {run.temporary / "tamt-fleet-left"}
    assert not Result(left=1).good


def test_processes_are_found_parents_first() -> None:
    found = [process.pid for process in processes(os.getppid())]
    assert found[0] == os.getppid()
    assert os.getpid() in found
    assert processes(os.getpid())[0].pid == os.getpid()
