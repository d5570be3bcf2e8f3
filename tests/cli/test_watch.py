"""`tamt status --watch`: what lands meanwhile is told once, and the end of the sweep ends it."""

import io
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from tamt_ray.analysis.stats.summary import snapshot
from tamt_ray.cli import watch
from tamt_ray.cli.live_view import LiveView
from tamt_ray.cli.sweep_context import open_sweep
from tamt_ray.execution import observer
from tamt_ray.execution.activity import Activity, LiveStatus, UnitAtWork
from tamt_ray.plan.expand import expand
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.lease import Lease
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store
from tamt_ray.values.identity import written

from . import small

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


def test_a_driver_that_answers_later_is_asked_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch may begin before the driver has a Ray, and goes on behind its end."""
    opened, said, events = open_sweep(file), list[str](), list[str]()

    @contextmanager
    def observed(_name: str, _address: str | None) -> Generator[Callable[[], None]]:
        events.append("look")
        if len(events) < 3:
            raise observer.UnreachableError("no Ray yet")
        yield lambda: None
        events.append("left")

    monkeypatch.setattr(observer, "observed", observed)
    with watch.asking(opened, None, said.append, fitted=False) as ask:
        assert ask() is None
        assert (events, said) == ([], []), "nobody runs it"
        with Lease.acquire(opened.store.files, "small"):
            assert [ask(), ask()] == [None, None]
            assert len(said) == 1
            assert "no Ray yet" in said[0]
            assert [bool(ask()), bool(ask())] == [True, True]
        assert events == ["look"] * 3
        assert ask() is None
        assert events[3:] == ["left"]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40)])
def test_a_terminal_shows_answer_and_time_left_whole(
    columns: int, lines: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With six units at work and more methods than there is room for. Nothing of a view is left
    above the next one, and nothing at the end."""
    methods = "[omp, random, wanda, movement, {method: imp, steps: 9}, fisher]"
    other = parse_sweep(
        small.SWEEP.format(store=file.parent / "b").replace("[random, omp]", methods)
    )
    plan, store = expand(other), Store(other.store)
    for number, unit in enumerate(plan.units.values()):
        metrics = dict(small.METRICS[unit.kind])
        if unit.kind == "pretrain_eval":
            metrics["mlm_loss"] += number
            metrics["kd_loss"] += number
        if unit.kind == "finetune" and unit.cell.method == "fisher":
            metrics["best/pearson/pearson"] = 0.9
        small.finish(store, unit, metrics=metrics)
    tables = snapshot(plan, store.scan(plan.units).records)
    units = tuple(
        UnitAtWork(f"finetune/mini/random/0.5/{n}/stsb/1", "node pid 7", 9.0, n, 99, 1.0)
        for n in range(6)
    )
    activity = Activity(units, {"finetune": 6}, {"finetune": 3}, {}, {"finetune": 9}, 60.0, 600.0)

    @contextmanager
    def asking(*_: object, fitted: bool) -> Generator[Callable[[], LiveView]]:
        yield lambda: LiveView(LiveStatus(tables, activity), fitted=fitted)

    screen = pyte.Screen(columns, lines)
    screen.set_mode(pyte.modes.LNM)
    stream, words = pyte.Stream(screen), io.StringIO()
    opened, shown = open_sweep(file), list[list[str]]()

    def look() -> None:
        stream.feed(words.getvalue())
        words.seek(words.truncate(0))
        shown.append([line.rstrip() for line in screen.display])

    def happen() -> Iterator[Callable[[], object]]:
        for unit in opened.plan.units.values():
            yield lambda unit=unit: (look(), opened.store.commit(record_of(unit), {}))

    monkeypatch.setattr(watch, "asking", asking)
    meanwhile = happen()
    monkeypatch.setattr(watch.time, "sleep", lambda _: next(meanwhile)())
    console = Console(
        file=words, force_terminal=True, width=columns, height=lines, soft_wrap=True,
    )  # fmt: skip
    assert watch.follow(opened, console) == 0
    for screenful in shown:
        text = " ".join(" ".join(screenful).split())
        assert tables.answer.text in text
        assert "3 of 9 units done, 1 minute elapsed, about 10 minutes left" in text
        assert sum(line.startswith("units ") for line in screenful) == 1
        assert any(" fisher " in line for line in screenful), "the best is not what is left out"
    look()
    assert not any(line.startswith(("units ", "at work")) for line in shown[-1])
