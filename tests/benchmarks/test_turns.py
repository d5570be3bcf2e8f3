"""Loops in turns."""

from collections.abc import Callable

import pytest

from benchmarks.turns import Loop, Turn, in_turns


def test_loops_take_turns_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves only where a loop says so, by other amounts in each of three rounds."""
    now = 0.0
    monkeypatch.setattr("time.process_time", lambda: now)
    order: list[str] = []

    def loop(name: str, rounds: list[list[float]]) -> Callable[[Turn], None]:
        left = iter(rounds)

        def run(turn: Turn) -> None:
            nonlocal now
            before, *steps, behind = next(left)
            now += before
            for number, seconds in enumerate(steps):
                turn()
                order.append(f"{name}{number}")
                now += seconds
            turn()
            now += behind

        return run

    found = in_turns(
        {
            "a": loop("a", [[1, 2, 3, 4, 1], [5, 2, 9, 4, 1], [1, 1, 3, 4, 2]]),
            "b": loop("b", [[1, 7, 1], [1, 6, 1], [1, 8, 1]]),
        },
        rounds=3,
    )
    assert order == ["a0", "b0", "a1", "a2"] * 3
    assert found == {"a": Loop(2, [2, 3, 4]), "b": Loop(2, [7])}
    assert found["a"].epoch(10) == 32


def test_a_loop_that_fails_ends_all() -> None:
    def fails(turn: Turn) -> None:
        turn()
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        in_turns({"works": lambda turn: turn(), "fails": fails}, 2)
