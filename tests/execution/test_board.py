"""Every unit is handed out exactly once, as soon as it can run, whatever its parents do."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamt_ray.execution.scheduler.board import Board, Lane, State
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Unit, parse_config

MODEL = {"source": "dir:m"}
TEXT = {"table": {"source": "dir:a"}}
TASK = {
    "kind": "regression", "text": ["s"], "train": {"source": "dir:s.csv"},
    "validation": [{"source": "dir:t.csv"}],
}  # fmt: skip
LANES: tuple[Lane, ...] = ("gang", "fleet")


def level(seed: int, below: str | None = None, head: str | None = None) -> Unit:
    """A unit of the gang lane with up to two parents."""
    return Unit(parse_config({
        "kind": "search", "method": "imp", "model": MODEL, "text": TEXT, "training": {},
        "sparsity": 0.5, "seed": seed, "steps": 1, "optimizer": {}, "start": 0.1,
        "level_below": below, "head": head,
    }))  # fmt: skip


def measured(seed: int, mask: str | None = None, head: str | None = None) -> Unit:
    """A unit of the fleet lane with up to two parents."""
    return Unit(parse_config({
        "kind": "pretrain_eval", "objectives": ["mlm", "kd"],
        "model": MODEL, "text": TEXT, "evaluation": {"seed": seed},
        "mask": mask, "head": head,
    }))  # fmt: skip


def tuned(seed: int, mask: str | None = None) -> Unit:
    return Unit(parse_config(
        {"kind": "finetune", "model": MODEL, "task": TASK, "seed": seed, "mask": mask}
    ))  # fmt: skip


def plan_of(*units: Unit) -> Plan:
    plan = Plan({unit.id: unit for unit in units}, {})
    assert len(plan.units) == len(units)
    return plan


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Random graphs over both lanes: each unit has up to two parents among those before it."""
    units: list[Unit] = []
    for seed in range(draw(st.integers(1, 14))):
        before = [None, *(unit.id for unit in units)]
        first, second = draw(st.sampled_from(before)), draw(st.sampled_from(before))
        kind = draw(st.sampled_from([level, measured]))
        units.append(kind(seed, first, second if second != first else None))
    return plan_of(*units)


def chain() -> Plan:
    units = [level(0)]
    for seed in range(1, 8):
        units.append(level(seed, units[-1].id))
    return plan_of(*units)


def star() -> Plan:
    first = level(0)
    return plan_of(first, *(tuned(seed, first.id) for seed in range(12)))


def diamond() -> Plan:
    top = level(0)
    left, right = level(1, top.id), level(2, top.id)
    return plan_of(top, left, right, measured(3, left.id, right.id))


def apart() -> Plan:
    return plan_of(*(tuned(seed) for seed in range(10)), *(level(seed) for seed in range(10)))


def work(plan: Plan, board: Board, workers: dict[Lane, int], draw: random.Random) -> list[str]:
    """Workers take and finish in random order; returns the units in the order of their start."""
    started: list[str] = []
    running: dict[Lane, list[str]] = {"gang": [], "fleet": []}
    while not board.finished():
        moved = False
        for lane in draw.sample(LANES, 2):
            while len(running[lane]) < workers[lane] and (unit := board.take(lane)):
                assert unit.lane == lane
                assert all(board.state(parent) is State.DONE for parent in unit.parents)
                started.append(unit.id)
                running[lane].append(unit.id)
                moved = True
        busy = [lane for lane in LANES if running[lane]]
        assert busy, "nobody works, and nothing is ready, but the board is not finished"
        lane = draw.choice(busy)
        board.finish(running[lane].pop(draw.randrange(len(running[lane]))))
        assert moved or busy
    return started


@pytest.mark.parametrize("workers", [{"gang": 1, "fleet": 1}, {"gang": 3, "fleet": 16}])
@pytest.mark.parametrize("shape", [chain, star, diamond, apart])
def test_every_unit_runs_exactly_once(shape, workers: dict[Lane, int]) -> None:  # noqa: ANN001
    plan: Plan = shape()
    board = Board(plan)
    started = work(plan, board, workers, random.Random(0))
    assert Counter(started) == Counter(dict.fromkeys(plan.units, 1))
    assert all(board.state(unit_id) is State.DONE for unit_id in plan.units)
    assert all(board.attempts(unit_id) == 1 for unit_id in plan.units)
    assert [board.take(lane) for lane in LANES] == [None, None]


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(1, 3), st.integers(1, 4), st.randoms(use_true_random=False))
def test_every_unit_of_any_graph_runs_exactly_once(
    plan: Plan, gangs: int, slots: int, draw: random.Random
) -> None:
    started = work(plan, Board(plan), {"gang": gangs, "fleet": slots}, draw)
    assert sorted(started) == sorted(plan.units)


def descendants(plan: Plan, roots: Sequence[str]) -> set[str]:
    """Found by repetition until nothing is added: another way than the board's."""
    found = set(roots)
    while True:
        more = {u.id for u in plan.units.values() if found & set(u.parents)} - found
        if not more:
            return found - set(roots)
        found |= more


@settings(max_examples=60, deadline=None)
@given(plans(), st.randoms(use_true_random=False))
def test_failures_and_lost_workers_in_any_graph(plan: Plan, draw: random.Random) -> None:
    """Whatever happens, each unit ends in one state, and blocked are just the heirs of failures."""
    board = Board(plan)
    handed = Counter[str]()
    failed: set[str] = set()
    while not board.finished():
        unit = next(u for lane in draw.sample(LANES, 2) if (u := board.take(lane)))
        handed[unit.id] += 1
        match draw.choice(["finish", "finish", "fail", "release"]):
            case "fail":
                board.fail(unit.id)
                failed.add(unit.id)
            case "release" if handed[unit.id] < 4:
                board.release(unit.id)
                assert board.state(unit.id) is State.READY
            case _:
                board.finish(unit.id)
    blocked = descendants(plan, sorted(failed))
    for unit_id in plan.units:
        expected = (
            State.FAILED if unit_id in failed
            else State.BLOCKED if unit_id in blocked
            else State.DONE
        )  # fmt: skip
        assert board.state(unit_id) is expected
        assert board.attempts(unit_id) == handed[unit_id]
    assert not any(handed[unit_id] for unit_id in blocked)


@settings(max_examples=40, deadline=None)
@given(plans(), st.data())
def test_what_the_store_knows_is_not_run_again(plan: Plan, data: st.DataObject) -> None:
    """Any part may be done, and any failed: a done child of a failed parent stays done."""
    ids = list(plan.units)
    done = data.draw(st.sets(st.sampled_from(ids)))
    failed = data.draw(st.sets(st.sampled_from(ids))) - done
    board = Board(plan, done, failed)
    ran: list[str] = []
    while unit := board.take("gang") or board.take("fleet"):
        ran.append(unit.id)
        board.finish(unit.id)
    assert board.finished()
    assert not set(ran) & (done | failed)
    left = set(ids) - done - failed - set(ran)
    assert all(board.state(unit_id) is State.BLOCKED for unit_id in left)
    for unit_id in left:
        parents = plan.units[unit_id].parents
        assert any(board.state(p) in {State.FAILED, State.BLOCKED} for p in parents)


def test_a_finished_search_frees_its_fine_tunes_at_once() -> None:
    """No barrier between the stages: the second search has not even begun."""
    first, second = level(0), level(1)
    own = [tuned(seed, first.id) for seed in range(3)]
    board = Board(plan_of(first, second, *own, tuned(9, second.id)))
    assert board.take("fleet") is None
    taken = board.take("gang")
    assert taken is not None
    board.finish(first.id if taken.id == first.id else second.id)
    assert board.take("fleet") is not None


def test_the_units_that_unblock_most_generations_come_first() -> None:
    """A chain of three before a wide one of two; wide before narrow; else in the plan's order."""
    alone = level(0)
    narrow, wide, long = level(1), level(2), level(3)
    middle = level(4, long.id)
    board = Board(plan_of(
        alone, narrow, wide, long, middle, tuned(1, narrow.id),
        *(tuned(10 + seed, wide.id) for seed in range(5)), tuned(2, middle.id), level(6),
    ))  # fmt: skip
    order = [unit.config.seed for _ in range(5) if (unit := board.take("gang"))]
    assert order == [3, 2, 1, 0, 6]
    board.finish(long.id)
    again = board.take("gang")
    assert again is not None
    assert again.id == middle.id


def test_a_failure_blocks_its_heirs_and_lets_the_others_go_on() -> None:
    bad, good = level(0), level(1)
    child = level(2, bad.id)
    heirs = [tuned(3, bad.id), tuned(4, child.id)]
    other = tuned(5, good.id)
    board = Board(plan_of(bad, good, child, *heirs, other))
    assert board.take("gang") is not None
    board.fail(bad.id)
    assert [board.state(unit.id) for unit in (bad, child, *heirs)] == [
        State.FAILED, State.BLOCKED, State.BLOCKED, State.BLOCKED,
    ]  # fmt: skip
    assert not board.finished()
    taken = board.take("gang")
    assert taken is not None
    assert taken.id == good.id
    board.finish(good.id)
    assert board.finished("gang")
    assert not board.finished("fleet")
    last = board.take("fleet")
    assert last is not None
    assert last.id == other.id
    board.finish(other.id)
    assert board.finished()
    assert [board.state(unit.id) for unit in (bad, good, child, *heirs, other)] == [
        State.FAILED, State.DONE, State.BLOCKED, State.BLOCKED, State.BLOCKED, State.DONE,
    ]  # fmt: skip


def test_a_released_unit_is_handed_out_again_and_counted() -> None:
    unit = level(0)
    board = Board(plan_of(unit))
    for attempt in (1, 2, 3):
        taken = board.take("gang")
        assert taken is not None
        assert board.take("gang") is None
        assert board.attempts(unit.id) == attempt
        board.release(unit.id)
    assert board.state(unit.id) is State.READY


def test_a_unit_may_be_claimed_once_and_only_when_ready() -> None:
    """A worker of a board that is gone says that it has the unit."""
    first, child = level(0), tuned(1, level(0).id)
    board = Board(plan_of(first, child))
    assert not board.claim(child.id)
    assert board.claim(first.id)
    assert not board.claim(first.id)
    assert board.take("gang") is None
    board.finish(first.id)
    assert board.claim(child.id)
    assert board.attempts(child.id) == 1


def test_news_of_a_unit_that_is_over_changes_nothing() -> None:
    """A worker believed lost may still report; its record counts once, its loss not at all."""
    first, child = level(0), tuned(1, level(0).id)
    board = Board(plan_of(first, child))
    board.take("gang")
    board.release(first.id)
    board.finish(first.id)
    assert board.take("gang") is None, "the entry from its release is void"
    board.finish(first.id)
    board.fail(first.id)
    board.release(first.id)
    assert board.state(first.id) is State.DONE
    assert board.finished("gang")
    assert board.take("fleet") is not None
    assert board.take("fleet") is None
    assert not board.finished()


def test_an_empty_plan_is_finished() -> None:
    assert Board(Plan({}, {})).finished()


def test_lanes_by_kind() -> None:
    head = Unit(parse_config({
        "kind": "head", "model": MODEL, "text": TEXT, "training": {"steps": 1},
    }))  # fmt: skip
    omp = Unit(parse_config({"kind": "search", "method": "omp", "model": MODEL, "sparsity": 0.5}))
    assert [unit.lane for unit in (head, level(0), omp, measured(0), tuned(0))] == [
        "gang", "gang", "fleet", "fleet", "fleet",
    ]  # fmt: skip


def test_what_is_terminal() -> None:
    assert {state for state in State if state.terminal} == {
        State.DONE, State.FAILED, State.BLOCKED,
    }  # fmt: skip


def test_a_board_takes_in_further_units_while_it_runs() -> None:
    """As if all had been there from the beginning; what is at work or done stays so."""
    first, other = level(1), level(9)
    second, third = level(2, first.id), level(3, first.id)
    board = Board(plan_of(first, other))
    assert board.take("gang") is first
    assert [board.take("gang"), board.take("gang")] == [other, None]
    board.finish(other.id)
    board.finish(first.id)
    assert board.finished()

    evaluation = measured(4, second.id)
    board.extend(plan_of(first, other, second, third, evaluation), done=[third.id])
    assert not board.finished("gang")
    assert board.state(first.id) is board.state(third.id) is State.DONE
    assert board.take("gang") is second, "what it needs was done before it came"
    board.extend(plan_of(first, other, second, third, evaluation, level(5)))
    assert board.state(second.id) is State.RUNNING
    board.finish(second.id)
    assert board.take("fleet") is evaluation


def test_a_unit_that_comes_after_its_parent_failed_is_blocked() -> None:
    first = level(1)
    second = level(2, first.id)
    board = Board(plan_of(first))
    board.fail(first.id)
    board.extend(plan_of(first, second, measured(3, second.id)))
    assert board.state(second.id) is State.BLOCKED
    assert board.finished()
    assert board.left == pytest.approx(0.0)


def test_a_unit_runs_in_the_lane_that_its_plan_names() -> None:
    board = Board(plan_of(replace(measured(1), runs_in="gang")))
    assert board.take("fleet") is None
    assert board.finished("fleet")
    assert board.take("gang") is not None
