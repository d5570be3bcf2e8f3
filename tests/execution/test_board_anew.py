"""A board that Ray started anew: what it learns from the driver and the workers."""

import asyncio

import pytest
import ray

from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.messages import (
    Failed,
    Idle,
    Known,
    Landed,
    Lost,
    Offer,
    Started,
    WorkerCommand,
)

from .board_scenes import (
    HERE,
    ONE,
    THERE,
    TWO,
    failure,
    heard,
    offered,
    opened,
    plan_of,
    play,
    record,
    tune,
)

pytestmark = pytest.mark.usefixtures("gone")


def test_a_new_board_learns_from_the_workers_what_they_hold() -> None:
    """The old one handed out both units; one worker gives a sign of life within the pause, the
    other one does not. Nothing runs twice, nothing is forgotten."""

    async def scene() -> None:
        actor = BoardActor(1, 100.0)
        assert await actor.events(0, 0.0) is None, "it has to be opened"
        waiting = asyncio.ensure_future(actor.beat("old", ONE.id, 0, 70, 100, HERE))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "a call to a board that knows nothing waits"
        await actor.open(plan_of(ONE, TWO), [], [], 3.0)
        assert await waiting is WorkerCommand.GO_ON
        assert await actor.take("fleet", "new") is Idle.WAIT
        assert await offered(actor, "new", 10.0) is TWO
        assert await actor.take("fleet", "newer") is Idle.WAIT, "the old worker is at work"
        assert await actor.beat("stray", TWO.id, 0, 1, 2, THERE) is WorkerCommand.DROP
        assert await actor.started("stray", TWO.id, 0, THERE) is WorkerCommand.DROP
        await actor.landed("old", record(ONE))
        assert await actor.beat("old", ONE.id, 0, 100, 100, HERE) is WorkerCommand.DROP
        await actor.landed("new", record(TWO))
        assert await actor.take("fleet", "new") is Idle.FINISHED
        assert [type(event) for event in await heard(actor)] == [Landed, Landed]

    play(scene)


def test_a_new_board_is_told_what_was_held_and_how_often_it_failed() -> None:
    """One unit is at work when the board is lost together with its worker, and had run out of
    memory before: its budget is used up. The other one had lost a worker: its next attempt is the
    second."""

    async def scene() -> None:
        old = await opened(ONE, TWO)
        assert await offered(old, "a") is ONE
        await old.failed("a", 0, failure(ONE), Fault.MEMORY)
        assert await offered(old, "b") is TWO
        await old.started("b", TWO.id, 0, HERE)
        await old.lost("b", Fault.DIED)
        offer = await old.take("fleet", "c", 3.0)
        assert isinstance(offer, Offer)
        assert (offer.unit, offer.attempt, offer.wider) == (ONE, 2, True)
        await old.started("c", ONE.id, 0, HERE)
        events = await heard(old)
        begun = next(e for e in reversed(events) if isinstance(e, Started) and e.unit == ONE.id)
        histories = {event.unit: event.past for event in events if isinstance(event, Lost)}

        new = BoardActor(1, 100.0)
        await new.open(plan_of(ONE, TWO), [], [], 0.0, known=Known((begun,), histories))
        again = await new.take("fleet", "d", 3.0)
        assert isinstance(again, Offer)
        assert (again.unit, again.attempt, again.wider) == (TWO, 2, False)
        assert await new.beat("c", ONE.id, 0, 7, 9, HERE) is WorkerCommand.GO_ON
        await new.lost("c", Fault.MEMORY)
        (failed,) = [event for event in await heard(new) if isinstance(event, Failed)]
        assert failed.failure.id == ONE.id
        assert failed.failure.attempts == 2
        assert "out of memory again" in failed.failure.message

    play(scene)


def test_what_the_board_wrote_off_no_sign_of_life_brings_back() -> None:
    """A rank ran out of memory and said so; its companion hangs and goes on giving signs of life.
    That is one loss, not two."""

    async def scene() -> None:
        actor = await opened(ONE, TWO)
        assert await offered(actor, "gang") is ONE
        await actor.started("gang", ONE.id, 0, HERE)
        await actor.started("gang", ONE.id, 1, THERE)
        await actor.failed("gang", 1, failure(ONE), Fault.MEMORY)
        await asyncio.sleep(1.2)
        assert await actor.beat("gang", ONE.id, 0, 3, 9, HERE) is WorkerCommand.DROP
        await actor.lost("gang", Fault.MEMORY)
        offer = await actor.take("fleet", "gang", 3.0)
        assert isinstance(offer, Offer)
        assert (offer.unit, offer.attempt) == (ONE, 2)
        assert await actor.started("gang", ONE.id, 0, HERE) is WorkerCommand.GO_ON
        assert not any(isinstance(event, Failed) for event in await heard(actor))

    play(scene)


def test_a_lost_holder_s_call_is_handed_nothing() -> None:
    """It waits in the board when the process that made it is gone; its successor gets the unit."""

    async def scene() -> None:
        actor = await opened(ONE, TWO, done=())
        assert await offered(actor, "a") is ONE
        assert await offered(actor, "b") is TWO
        waiting = asyncio.ensure_future(actor.take("fleet", "gang", 10.0))
        await asyncio.sleep(0.05)
        await actor.lost("gang", Fault.DIED)
        await actor.lost("b", Fault.NODE)
        assert await waiting is Idle.FINISHED
        offer = await actor.take("fleet", "gang", 3.0)
        assert isinstance(offer, Offer)
        assert offer.unit is TWO

    play(scene)


def test_what_a_new_board_was_told_wrongly_does_not_hold_up_the_run() -> None:
    """The driver had not heard that one holder went on with another unit, and that the worker of
    another one was gone."""

    async def scene() -> None:
        actor = BoardActor(3, 100.0)
        known = Known((Started(ONE.id, 1, "here", "a"), Started(TWO.id, 1, "there", "b")))
        three = tune(3)
        await actor.open(plan_of(ONE, TWO, three), [], [], 0.2, known=known)
        assert await actor.beat("a", three.id, 0, 1, 9, HERE) is WorkerCommand.GO_ON
        await asyncio.sleep(0.5)
        back = {(await offered(actor, "c")).id, (await offered(actor, "d")).id}
        assert back == {ONE.id, TWO.id}

    play(scene)


def test_every_rank_of_a_gang_tells_a_new_board_where_it_is() -> None:
    """Even the second one alone: its node is about to go, and the first one may hang."""

    async def scene() -> None:
        actor = await opened(ONE, patience=1.0, pause=60.0)
        assert await actor.beat("gang", ONE.id, 1, 5, 9, THERE) is WorkerCommand.GO_ON
        assert await actor.beat("gang", ONE.id, 0, 5, 9, HERE) is WorkerCommand.GO_ON
        await actor.drain(frozenset({THERE.node}))
        assert await actor.beat("gang", ONE.id, 0, 6, 9, HERE) is WorkerCommand.SAVE

    play(scene)


def test_a_second_rank_heard_alone_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[object] = []
    monkeypatch.setattr(ray, "kill", killed.append)

    async def scene() -> None:
        actor = await opened(ONE, patience=0.8, pause=60.0)
        for step in range(20):
            await actor.beat("gang", ONE.id, 1, step, 99, THERE)
            await asyncio.sleep(0.1)
        lost = [event for event in await heard(actor) if isinstance(event, Lost)]
        assert [event.fault for event in lost] == [Fault.HUNG]
        assert killed == ["actor 2"]

    play(scene)
