"""`tamt logs`: what workers wrote, also what does not look like text."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tamt_ray.cli.app import app
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.logs import log_path
from tamt_ray.store.record import Failure
from tamt_ray.store.store import Store

SWEEP = """\
name: small
store: {store}
models: {{mini: {{source: "dir:m"}}}}
corpus: {{train: {{source: "dir:a.txt"}}, validation: {{source: "dir:b.txt"}}}}
methods: [omp]
sparsities: [0.5]
finetune_seeds: [1]
tasks: {{}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP.format(store=tmp_path / "results"))
    return path


def search_of(file: Path) -> Unit:
    return next(u for u in expand(load_sweep(file)).units.values() if u.kind == "search")


def test_all_attempts_are_printed_one_after_the_other(file: Path, tmp_path: Path) -> None:
    unit, store = search_of(file), Store(str(tmp_path / "results"))
    for attempt, words in [(1, b"first [red]\xff\n"), (2, b"second\n")]:
        heading = f"# 2026-01-0{attempt} 00:00:00 +0000 {unit}\n".encode()
        store.write(log_path(unit.kind, unit.id, attempt, 0), heading + words)
    shown = CliRunner().invoke(app, ["logs", str(file), unit.id[:8]])
    assert shown.exit_code == 0
    assert [line for line in shown.stdout.splitlines() if line[0] != "#"] == [
        "first [red]\N{REPLACEMENT CHARACTER}", "second",
    ]  # fmt: skip
    by_path = CliRunner().invoke(app, ["logs", str(file), "search/*/omp/0.5"])
    assert by_path.stdout == shown.stdout


def test_a_unit_without_logs_or_no_unit_at_all(file: Path) -> None:
    none = CliRunner().invoke(app, ["logs", str(file), search_of(file).id[:8]])
    assert none.exit_code == 2
    assert "has no logs" in none.stderr
    unknown = CliRunner().invoke(app, ["logs", str(file), "search/*/imp/*"])
    assert unknown.exit_code == 2
    assert "name one of" in unknown.stderr


def test_status_says_what_to_type_about_a_failure(file: Path, tmp_path: Path) -> None:
    unit = search_of(file)
    Store(str(tmp_path / "results")).fail(
        Failure(
            id=unit.id, kind=unit.kind, cell=unit.cell, error="WorkerDied",
            message="its worker died 4 times without getting further", traceback="", attempts=4,
            at=0.0,
        )
    )  # fmt: skip
    shown = CliRunner().invoke(app, ["status", str(file)])
    assert "WorkerDied: its worker died 4 times" in shown.stdout
    assert f"tamt logs {file} {unit.id[:8]}" in shown.stdout
    assert f"python -m tamt_ray.sweep {file} --retry-failed" in shown.stdout
