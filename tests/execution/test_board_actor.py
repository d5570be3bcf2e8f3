"""What the board answers to workers that come, go, hang and come back, without a cluster."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tamt_ray.execution import board_actor
from tamt_ray.execution.board import State
from tamt_ray.execution.board_actor import BoardActor
from tamt_ray.execution.faults import Fault
from tamt_ray.execution.messages import (
    Event,
    Failed,
    Idle,
    Known,
    Landed,
    Lost,
    Offer,
    Order,
    Progressed,
    Started,
    Worker,
)
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Unit, parse_config
from tamt_ray.store.record import Failure, Record


@pytest.fixture(autouse=True)
def gone(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ids of the nodes that do not answer."""
    nodes = set[str]()
    monkeypatch.setattr(board_actor, "is_gone", nodes.__contains__)
    return nodes


def tune(seed: int) -> Unit:
    """A unit of the fleet lane without parents."""
    task = {
        "kind": "regression", "text": ["s"], "train": {"source": "dir:s.csv"},
        "validation": [{"source": "dir:t.csv"}],
    }  # fmt: skip
    config = {"kind": "finetune", "model": {"source": "dir:m"}, "task": task, "seed": seed}
    return Unit(parse_config(config), {"seed": seed})


ONE, TWO = tune(1), tune(2)
HERE, THERE = Worker("here", "node-1", "/log/1", "actor 1"), Worker("there", "node-2", "/log/2", 2)


def plan_of(*units: Unit) -> Plan:
    return Plan({unit.id: unit for unit in units}, ())


async def opened(
    *units: Unit,
    retries: int = 1,
    patience: float = 100.0,
    done: Sequence[str] = (),
    pause: float = 0.0,
) -> BoardActor:
    actor = BoardActor(retries, patience)
    await actor.open(plan_of(*units), list(done), [], pause)
    return actor


def record(unit: Unit) -> Record:
    return Record(
        id=unit.id, kind=unit.kind, config={}, started=0.0, seconds=1.0, device="", place=""
    )


def failure(unit: Unit) -> Failure:
    return Failure(
        id=unit.id, kind=unit.kind, labels={}, error="OutOfMemoryError", message="CUDA out of "
        "memory", traceback="", attempts=1, at=0.0,
    )  # fmt: skip


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scene()

    asyncio.run(bounded())


async def offered(actor: BoardActor, holder: str, wait: float = 3.0) -> Unit:
    offer = await actor.take("fleet", holder, wait)
    assert isinstance(offer, Offer)
    return offer.unit


async def heard(actor: BoardActor) -> list[Event]:
    told = await actor.events(0, 0.0)
    assert told is not None
    return told[1]


def test_a_lost_worker_s_unit_comes_back_after_a_pause_and_then_is_set_aside() -> None:
    async def scene() -> None:
        actor = await opened(ONE)
        assert await offered(actor, "a") is ONE
        assert await actor.started("a", ONE.id, 0, HERE) is Order.GO_ON
        assert await actor.lost("a", Fault.DIED) == 1
        assert await actor.take("fleet", "b") is Idle.WAIT, "not before its pause is over"
        begin = time.monotonic()
        assert await offered(actor, "b") is ONE
        assert 0.5 < time.monotonic() - begin < 3
        await actor.started("b", ONE.id, 0, HERE)
        await actor.lost("b", Fault.DIED)
        assert await actor.take("fleet", "c") is Idle.FINISHED
        started, lost, again, failed = await heard(actor)
        assert isinstance(started, Started)
        assert isinstance(again, Started)
        assert (started.attempt, again.attempt) == (1, 2)
        assert isinstance(lost, Lost)
        assert (lost.fault, lost.after, lost.logs[0].path) == (Fault.DIED, 1.0, "/log/1")
        assert lost.logs[0].to == f"logs/finetune/{ONE.id}/attempt-01.rank-0.txt"
        assert isinstance(failed, Failed)
        assert (failed.failure.error, failed.failure.attempts) == ("WorkerDied", 2)

    play(scene)


def test_a_worker_that_asks_again_has_lost_what_it_held() -> None:
    async def scene() -> None:
        actor = await opened(ONE, TWO)
        first = await offered(actor, "a")
        assert await offered(actor, "a") is not first
        assert [type(event) for event in await heard(actor)] == [Lost]

    play(scene)


def test_out_of_memory_is_offered_once_more_with_a_larger_share() -> None:
    async def scene() -> None:
        actor = await opened(ONE)
        offers = []
        for holder in ("a", "b"):
            offers.append(await actor.take("fleet", holder, 3.0))
            await actor.started(holder, ONE.id, 0, HERE)
            await actor.failed(holder, 0, failure(ONE), Fault.MEMORY)
        assert [offer.wider for offer in offers if isinstance(offer, Offer)] == [False, True]
        last = (await heard(actor))[-1]
        assert isinstance(last, Failed)
        assert last.failure.message.startswith("CUDA out of memory (out of memory again")
        assert last.failure.attempts == 2

    play(scene)


def test_a_lost_companion_is_the_reason_and_its_log_is_fetched() -> None:
    """The first worker only reports that its connection broke."""

    async def scene() -> None:
        actor = await opened(ONE, retries=0)
        await offered(actor, "a")
        await actor.started("a", ONE.id, 0, HERE)
        await actor.started("a", ONE.id, 1, THERE)
        broken = failure(ONE).model_copy(update={"error": "RuntimeError", "message": "gloo"})
        await actor.failed("a", 0, broken, Fault.DIED)
        last = (await heard(actor))[-1]
        assert isinstance(last, Failed)
        assert last.failure.error == "WorkerDied"
        assert "its worker died once without getting further (RuntimeError: gloo)" in (
            last.failure.message
        )
        assert [log.path for log in last.logs] == ["/log/2"]

    play(scene)


def test_a_worker_lost_with_its_node_is_not_charged(gone: set[str]) -> None:
    """Whoever tells of it: Ray, which only sees a process die, or a companion elsewhere."""

    async def scene() -> None:
        actor = await opened(ONE, TWO, retries=0)
        for holder, unit in (("a", ONE), ("b", TWO)):
            assert await offered(actor, holder) is unit
            await actor.started(holder, unit.id, 0, HERE)
            await actor.started(holder, unit.id, 1, THERE)
        gone.add("node-2")
        await actor.lost("a", Fault.ERROR)
        await actor.failed("b", 0, failure(TWO), Fault.DIED)
        lost = [event.fault for event in await heard(actor) if isinstance(event, Lost)]
        assert lost == [Fault.NODE, Fault.NODE]

    play(scene)


def test_a_new_board_learns_from_the_workers_what_they_hold() -> None:
    """The old one handed out both units; one worker gives a sign of life within the pause, the
    other one does not. Nothing runs twice, nothing is forgotten."""

    async def scene() -> None:
        actor = BoardActor(1, 100.0)
        assert await actor.events(0, 0.0) is None, "it has to be opened"
        waiting = asyncio.ensure_future(actor.beat("old", ONE.id, 70, 100, HERE))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "a call to a board that knows nothing waits"
        await actor.open(plan_of(ONE, TWO), [], [], 0.4)
        assert await waiting is Order.GO_ON
        assert await actor.take("fleet", "new") is Idle.WAIT
        assert await offered(actor, "new") is TWO
        assert await actor.take("fleet", "newer") is Idle.WAIT, "the old worker is at work"
        assert await actor.beat("stray", TWO.id, 1, 2, THERE) is Order.DROP
        assert await actor.started("stray", TWO.id, 0, THERE) is Order.DROP
        await actor.landed("old", record(ONE))
        assert await actor.beat("old", ONE.id, 100, 100, HERE) is Order.DROP
        await actor.landed("new", record(TWO))
        assert await actor.take("fleet", "new") is Idle.FINISHED
        assert [type(event) for event in await heard(actor)] == [Landed, Landed]

    play(scene)


def test_a_unit_without_progress_is_taken_from_all_its_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found within the patience and a quarter of it; steps count as progress, signs of life do
    not; who waits for room on the cluster has not begun."""
    killed: list[object] = []
    monkeypatch.setattr(board_actor.ray, "kill", killed.append)

    async def scene() -> None:
        actor = await opened(ONE, TWO, patience=0.4)
        assert await offered(actor, "a") is ONE
        await actor.started("a", ONE.id, 0, HERE)
        await actor.started("a", ONE.id, 1, THERE)
        assert await offered(actor, "b") is TWO
        for step in range(1, 8):
            await asyncio.sleep(0.1)
            assert await actor.beat("a", ONE.id, step, 9, HERE) is Order.GO_ON
        assert killed == []
        begin = time.monotonic()
        while not killed:
            await actor.beat("a", ONE.id, 7, 9, HERE)
            await asyncio.sleep(0.02)
        assert 0.3 < time.monotonic() - begin < 1.0
        assert killed == ["actor 1", 2]
        lost = [event for event in await heard(actor) if isinstance(event, Lost)]
        assert [(event.unit, event.fault, len(event.logs)) for event in lost] == [
            (ONE.id, Fault.HUNG, 2)
        ]

    play(scene)


def test_work_leaves_a_node_that_will_be_taken_away() -> None:
    """Also where only a companion is there; and the unit is not charged for it."""

    async def scene() -> None:
        actor = await opened(ONE, TWO, retries=0)
        assert await offered(actor, "a") is ONE
        await actor.started("a", ONE.id, 0, HERE)
        await actor.started("a", ONE.id, 1, THERE)
        await actor.drain(frozenset({"node-2"}))
        assert await actor.beat("a", ONE.id, 1, 9, HERE) is Order.SAVE
        assert await offered(actor, "b") is TWO
        assert await actor.started("b", TWO.id, 0, THERE) is Order.SAVE
        assert await actor.beat("b", TWO.id, 1, 9, THERE) is Order.DROP
        await actor.failed("a", 0, failure(ONE), Fault.NODE)
        assert await offered(actor, "c") is ONE
        assert await offered(actor, "d") is TWO
        assert await actor.started("c", ONE.id, 0, HERE) is Order.GO_ON

    play(scene)


def test_the_end_of_a_run() -> None:
    """After the first failure of --fail-fast what runs goes on; after a signal it saves."""

    async def scene() -> None:
        actor = await opened(ONE, TWO)
        await offered(actor, "a")
        await actor.started("a", ONE.id, 0, HERE)
        await actor.stop(save=False)
        assert await actor.beat("a", ONE.id, 1, 9, HERE) is Order.GO_ON
        assert await actor.take("fleet", "b", 5.0) is Idle.FINISHED
        await actor.stop(save=True)
        assert await actor.beat("a", ONE.id, 2, 9, HERE) is Order.STOP
        await actor.failed("a", 0, failure(ONE), Fault.STOP)
        assert await actor.lost("a", Fault.STOP) is None
        assert not any(isinstance(event, Failed) for event in await heard(actor))

    play(scene)


def test_of_many_steps_the_driver_hears_the_last() -> None:
    async def scene() -> None:
        actor = await opened(ONE)
        await offered(actor, "a")
        await actor.started("a", ONE.id, 0, HERE)
        for step in range(1000):
            await actor.beat("a", ONE.id, step, 1000, HERE)
        assert await heard(actor) == [
            Started(ONE.id, 1, "here", "a"),
            Progressed(ONE.id, 999, 1000),
        ]

    play(scene)


def test_news_of_units_that_are_over_or_elsewhere_changes_nothing() -> None:
    async def scene() -> None:
        actor = await opened(ONE, TWO, done=[TWO.id])
        await offered(actor, "a")
        await actor.lost("b", Fault.DIED)
        await actor.failed("b", 0, failure(ONE), Fault.ERROR)
        await actor.landed("b", record(ONE))
        await actor.failed("a", 0, failure(ONE), Fault.ERROR)
        await actor.lost("a", Fault.DIED)
        assert actor._board.state(ONE.id) is State.DONE
        assert [type(event) for event in await heard(actor)] == [Landed]

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
        pasts = {event.unit: event.past for event in events if isinstance(event, Lost)}

        new = BoardActor(1, 100.0)
        await new.open(plan_of(ONE, TWO), [], [], 0.0, known=Known((begun,), pasts))
        again = await new.take("fleet", "d", 3.0)
        assert isinstance(again, Offer)
        assert (again.unit, again.attempt, again.wider) == (TWO, 2, False)
        assert await new.beat("c", ONE.id, 7, 9, HERE) is Order.GO_ON
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
        assert await actor.beat("gang", ONE.id, 3, 9, HERE) is Order.DROP
        await actor.lost("gang", Fault.MEMORY)
        offer = await actor.take("fleet", "gang", 3.0)
        assert isinstance(offer, Offer)
        assert (offer.unit, offer.attempt) == (ONE, 2)
        assert await actor.started("gang", ONE.id, 0, HERE) is Order.GO_ON
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
        assert await actor.beat("a", three.id, 1, 9, HERE) is Order.GO_ON
        await asyncio.sleep(0.5)
        back = {(await offered(actor, "c")).id, (await offered(actor, "d")).id}
        assert back == {ONE.id, TWO.id}

    play(scene)
