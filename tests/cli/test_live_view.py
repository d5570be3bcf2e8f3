"""Tables of a running sweep as a terminal shows them."""

import io
from itertools import pairwise

import polars as pl
import pytest
from rich.console import Console

from tamt_ray.cli.live_view import LiveView
from tamt_ray.cli.tables import failure_lines, score_table
from tamt_ray.execution.activity import Activity, LiveStatus, UnitAtWork
from tamt_ray.plan.unit import Cell
from tamt_ray.store.record import Failure

FRAME = pl.DataFrame(
    {
        "model": ["mini"] * 3, "method": ["full", "omp", "imp"], "sparsity": [0.0, 0.5, 0.5],
        "average %": ["71.1", "68.0 ± 1.2", "–"], "stsb %": ["62.1", "58.8 (1/2)", "–"],
        "runs": ["1/1", "1/2", "0/2"],
    }
)  # fmt: skip
BEST = (frozenset[str](), frozenset({"average %"}), frozenset[str]())


def printed(renderable: object, width: int, *, colours: bool = False) -> str:
    words = io.StringIO()
    console = Console(
        file=words, width=width, height=40, force_terminal=colours,
        color_system="standard" if colours else None,
    )  # fmt: skip
    console.print(renderable)
    return words.getvalue()


@pytest.mark.parametrize(("width", "columns"), [(100, 6), (47, 5), (36, 4)])
def test_scores_are_cut_to_the_terminal_and_not_wrapped(width: int, columns: int) -> None:
    lines = printed(score_table(FRAME, BEST, width, 10), width).splitlines()
    assert len(lines) == 3 + (columns < 6), "a heading, two rows with values, what is left out"
    assert all(len(line) <= width for line in lines)
    assert ("stsb %" in lines[0]) == (columns == 6)
    if columns < 6:
        words = {5: "1 more column", 4: "2 more columns"}[columns]
        assert lines[-1].strip() == f"{words}: tamt results"


def test_only_the_best_is_bold() -> None:
    said = printed(score_table(FRAME, BEST, 100, 10), 100, colours=True)
    assert said.count("\x1b[1m") == 1
    assert "\x1b[1m68.0 ± 1.2\x1b[0m" in said


def test_units_at_work_have_step_and_rate() -> None:
    units = (
        UnitAtWork("search/mini/tamt_kd/0.5/1", "node-1 pid 7", 90.0, 1200, 11000, 12.345),
        UnitAtWork("finetune/mini/omp/0.5/stsb/1", "node-2 pid 8", 0.2),
    )
    activity = Activity(
        units, {"search": 1, "finetune": 1}, {"search": 4}, {}, {"search": 6, "finetune": 9},
        125.0, 3600.0,
    )  # fmt: skip
    for width in (100, 80):
        said = printed(LiveView(LiveStatus(None, activity)), width)
        row = next(line for line in said.splitlines() if "tamt_kd" in line)
        assert "1,200/11,000" in row
        assert "12.3" in row
        assert ("node-1 pid 7" in row) == (width == 100)
        assert "4 of 15 units done, 2 minutes elapsed, about 1.0 hour left" in said


def test_equal_errors_are_one_line() -> None:
    failures = [
        Failure(
            id=f"{number:064x}", kind="finetune", cell=Cell("mini", "omp", 0.5, task="t", seed=s),
            error="ValueError", message=message, traceback="", attempts=1, at=0.0,
        )
        for number, (s, message) in enumerate([(1, "no"), (2, "no"), (3, "other"), (4, "no")])
    ]  # fmt: skip
    lines = failure_lines({failure.id: failure for failure in failures}, shown=2)
    assert lines[0].startswith("3 × finetune mini omp 0.5 t 1 [")
    assert lines[0].endswith(" and 1 more: ValueError: no")
    assert lines[1].startswith("finetune mini omp 0.5 t 3 [")
    assert len(lines) == 2
    assert all(a != b for a, b in pairwise(lines))
