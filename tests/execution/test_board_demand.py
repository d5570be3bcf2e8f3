"""What the board's actor tells of searches, and when a gang is told to go."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tamt_ray.execution.scheduler import actor as board_actor
from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.faults import Retry
from tamt_ray.execution.scheduler.messages import Idle, Offer
from tamt_ray.plan.cost import ROUGH, Prices
from tamt_ray.plan.unit import Unit
from tamt_ray.store.record import Record

from .test_board import level, plan_of, tuned


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scene()

    asyncio.run(bounded())


def record(unit: Unit) -> Record:
    return Record(
        id=unit.id, kind=unit.kind, config={}, started=0.0, seconds=1.0, device="", place=""
    )


def test_what_waits_for_a_gang_and_what_is_left() -> None:
    first = level(1)
    second, tune = level(2, first.id), tuned(3, first.id)
    plan = plan_of(first, second, tune)
    one, two, three = (ROUGH.seconds(unit) for unit in plan.units.values())

    async def scene() -> None:
        actor = BoardActor(1, 100.0)
        assert (await actor.demand()).paths == (), "it is not open yet"
        await actor.open(plan, [], [], 0.0, Prices(ratios={("search",): 2.0}))
        assert (await actor.demand()).paths == pytest.approx((2 * one + max(2 * two, three),))
        assert isinstance(await actor.take("gang", "a"), Offer)
        demand = await actor.demand()
        assert (demand.paths, demand.at_work) == ((), 1)
        assert demand.left == pytest.approx(2 * one + 2 * two + three)
        await actor.take("fleet", "t")
        await actor.landed("a", record(first))
        demand = await actor.demand()
        assert demand.paths == pytest.approx((2 * two,))
        assert demand.at_work == 0
        await actor.stop(save=False)
        assert (await actor.demand()).paths == ()

    play(scene)


def test_a_gang_that_waits_in_vain_goes_where_others_are_at_work() -> None:
    """The last one stays: what it waits for may be pausing before it is tried again."""
    first = level(1)
    plan = plan_of(first, level(2, first.id))

    async def scene() -> None:
        actor = BoardActor(1, 100.0)
        await actor.open(plan, [], [], 0.0)
        assert isinstance(await actor.take("gang", "a"), Offer)
        assert await actor.take("gang", "b", wait=0.01) is Idle.FINISHED
        assert await actor.take("fleet", "t", wait=0.01) is Idle.FINISHED, "it has no units"

    play(scene)


def test_the_last_gang_waits_on() -> None:
    first = level(1)
    plan = plan_of(first, tuned(2, first.id))

    async def scene() -> None:
        actor = BoardActor(1, 100.0)
        await actor.open(plan, [], [], pause=60.0)
        assert await actor.take("gang", "a", wait=0.01) is Idle.WAIT
        assert await actor.take("fleet", "t", wait=0.01) is Idle.WAIT

    play(scene)


def test_a_worker_leaves_units_that_need_a_larger_share_to_the_fleet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While one is ready, no worker goes on with another unit by itself."""
    monkeypatch.setattr(board_actor, "after_fault", lambda *_: Retry(0.0, wider=True))
    tunes = [tuned(1), tuned(2), tuned(3)]

    async def scene() -> None:
        actor = BoardActor(1, 100.0)
        await actor.open(plan_of(*tunes), [], [], 0.0)
        first = await actor.take("fleet", "a")
        assert isinstance(first, Offer)
        second = await actor.take("fleet", "a", alike=True)
        assert isinstance(second, Offer)
        await asyncio.sleep(0.01)
        assert await actor.take("fleet", "b", alike=True) is Idle.WAIT
        wider = await actor.take("fleet", "b")
        assert isinstance(wider, Offer)
        assert (wider.unit, wider.wider) == (first.unit, True)
        last = await actor.take("fleet", "c", alike=True)
        assert isinstance(last, Offer)
        assert not last.wider

    play(scene)
