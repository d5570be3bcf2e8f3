"""Loops in turns."""

from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.turns import Loop, in_turns

LOOPS = '''
import time
from pathlib import Path

def made(log, name, rounds):
    """The clock moves only where a loop says so, in each round by other amounts."""
    now, left = 0.0, iter(rounds)
    time.process_time = lambda: now

    def run(turn):
        nonlocal now
        before, *steps, behind = next(left)
        now += before
        for number, seconds in enumerate(steps):
            turn()
            with Path(log).open("a") as file:
                file.write(f"{name}{number} ")
            now += seconds
        turn()
        now += behind

    return run

def failing():
    def run(turn):
        turn()
        raise SystemExit("no data")
    return run
'''


@pytest.fixture
def loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """In a module that other processes can import."""
    (tmp_path / "loops_in_turns.py").write_text(LOOPS)
    monkeypatch.syspath_prepend(tmp_path)
    return __import__("loops_in_turns")


def test_loops_take_turns_step_by_step(loops: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    rounds = {
        "a": [[1, 2, 3, 4, 1], [5, 2, 9, 4, 1], [1, 1, 3, 4, 2]],
        "b": [[1, 7, 1], [1, 6, 1], [1, 8, 1]],
    }
    found = in_turns(
        {name: partial(loops.made, str(log), name, times) for name, times in rounds.items()}, 3
    )
    assert log.read_text().split() == ["a0", "b0", "a1", "a2"] * 3
    assert found == {"a": Loop(2, [2, 3, 4]), "b": Loop(2, [7])}
    assert found["a"].epoch(10) == 32


def test_a_loop_that_fails_ends_all(loops: ModuleType, tmp_path: Path) -> None:
    works = partial(loops.made, str(tmp_path / "log"), "a", [[1, 1, 1]])
    with pytest.raises(RuntimeError, match="fails broke down"):
        in_turns({"works": works, "fails": loops.failing}, 1)
