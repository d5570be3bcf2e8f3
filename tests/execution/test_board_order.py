"""Which of several ready units is handed out first, and what the board tells of them."""

import pytest

from tamt_ray.execution.scheduler.board import Board
from tamt_ray.plan.cost import ROUGH, Prices
from tamt_ray.plan.unit import Unit, parse_config

from .test_board import MODEL, TEXT, level, measured, plan_of, tuned


def mask(seed: int, steps: int) -> Unit:
    """A mask training; a step takes 0.18 s."""
    return Unit(parse_config({
        "kind": "search", "method": "tamt", "model": MODEL, "text": TEXT, "training": {},
        "objective": ["kd"], "sparsity": 0.5, "seed": seed, "steps": steps, "optimizer": {},
    }), {"method": "tamt_kd"})  # fmt: skip


def taken(board: Board, lane: str) -> list[int]:
    seeds: list[int] = []
    while unit := board.take("gang" if lane == "gang" else "fleet"):
        seeds.append(unit.config.seed if unit.kind != "pretrain_eval" else -1)
    return seeds


def test_the_longest_path_in_seconds_comes_first_not_the_most_generations() -> None:
    """Three short levels before a fine-tune are less than one long mask training alone."""
    first = level(1)
    second = level(2, first.id)
    third = level(3, second.id)
    long, short = mask(4, 5000), mask(5, 50)
    plan = plan_of(first, second, third, tuned(9, third.id), short, long)
    path = sum(ROUGH.seconds(plan.units[u.id]) for u in (first, second, third, tuned(9, third.id)))
    assert ROUGH.seconds(long) > path > ROUGH.seconds(short)
    board = Board(plan)
    assert board.ready("gang") == pytest.approx((ROUGH.seconds(long), path, ROUGH.seconds(short)))
    assert taken(board, "gang") == [4, 1, 5]
    assert board.ready("gang") == ()


def test_long_units_of_the_fleet_come_before_short_ones() -> None:
    evaluation, tune = measured(0), tuned(1)
    assert ROUGH.seconds(tune) > ROUGH.seconds(evaluation)
    assert taken(Board(plan_of(evaluation, tune)), "fleet") == [1, -1]


def test_measured_prices_change_the_order() -> None:
    searches = [mask(1, 500), level(2)]
    plan = plan_of(*searches)
    assert taken(Board(plan), "gang") == [1, 2]
    slow = Prices("cpu", ratios={("search", "tamt"): 0.001})
    assert taken(Board(plan, prices=slow), "gang") == [2, 1]


def test_the_work_left_falls_with_every_end() -> None:
    first, other = level(1), tuned(2)
    child = tuned(3, first.id)
    plan = plan_of(first, other, child)
    whole = sum(ROUGH.seconds(unit) for unit in plan.units.values())
    assert Board(plan).left == pytest.approx(whole)
    board = Board(plan, done=[other.id])
    assert board.left == pytest.approx(whole - ROUGH.seconds(other))
    board.take("gang")
    board.release(first.id)
    assert board.left == pytest.approx(whole - ROUGH.seconds(other))
    board.fail(first.id)
    assert board.left == pytest.approx(0.0, abs=1e-9), "what is blocked is no work either"


def test_a_unit_that_was_claimed_and_released_is_ready_once() -> None:
    board = Board(plan_of(level(1)))
    for _ in range(3):
        assert board.claim(level(1).id)
        assert board.ready("gang") == ()
        board.release(level(1).id)
    assert len(board.ready("gang")) == 1
