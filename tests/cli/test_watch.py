"""`tamt status --watch`: what lands meanwhile is told once, and the end of the sweep ends it."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tamt_ray.cli import watch
from tamt_ray.cli.sweep_context import open_sweep
from tamt_ray.plan.unit import Unit
from tamt_ray.store.record import Failure, Record
from tamt_ray.values.identity import written

SWEEP = """\
name: small
store: {store}
models: {{mini: {{source: "dir:m"}}}}
corpus: {{train: {{source: "dir:a.txt"}}, validation: {{source: "dir:b.txt"}}}}
methods: [omp]
sparsities: [0.3, 0.5]
tasks: {{}}
"""


def record_of(unit: Unit) -> Record:
    return Record(
        id=unit.id, kind=unit.kind, config=written(unit.config), parents=unit.parents,
        metrics={}, sources={}, started=0.0, seconds=1.5, device="cpu", place="node-1",
    )  # fmt: skip


def failure_of(unit: Unit) -> Failure:
    return Failure(
        id=unit.id, kind=unit.kind, cell=unit.cell, error="ValueError", message="no",
        traceback="", attempts=1, at=0.0,
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP.format(store=tmp_path / "results"))
    return path


def watched(
    file: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Iterator[Callable[[], object]]
) -> tuple[int, list[str]]:
    """The exit code and the lines, when these things happen between two looks."""
    monkeypatch.setattr(watch.time, "sleep", lambda _: next(meanwhile)())
    words = io.StringIO()
    code = watch.follow(open_sweep(file), Console(file=words, soft_wrap=True))
    return code, words.getvalue().splitlines()


def test_what_lands_is_told_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_sweep(file)
    units = list(opened.plan.units.values())

    def happen() -> Iterator[Callable[[], object]]:
        for unit in units:
            yield lambda: None
            yield lambda unit=unit: opened.store.commit(record_of(unit), {})

    code, lines = watched(file, monkeypatch, happen())
    assert code == 0
    assert sum(line.startswith("done ") for line in lines) == len(units)
    assert len(lines) == 2 + 2 * len(units), "nothing is said where nothing happened"
    assert lines[-2] == f"{len(units)} of {len(units)} done, 0 failed, 0 to run"


def test_a_failure_is_told_and_ends_it_with_1(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_sweep(file)
    searches = [unit for unit in opened.plan.units.values() if unit.kind == "search"]
    for unit in opened.plan.units.values():
        if not unit.parents and unit.kind != "search":
            opened.store.commit(record_of(unit), {})

    def happen() -> Iterator[Callable[[], object]]:
        for unit in searches:
            yield lambda unit=unit: opened.store.fail(failure_of(unit))

    code, lines = watched(file, monkeypatch, happen())
    assert code == 1
    assert sum(line.startswith("failed search") for line in lines) == len(searches)
    assert lines[-1] == f"try them again: python -m tamt_ray.sweep {file} --retry-failed"


def test_ctrl_c_leaves(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    code, lines = watched(file, monkeypatch, iter([interrupt]))
    assert (code, len(lines)) == (0, 1)
