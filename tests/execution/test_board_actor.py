"""What the board answers to workers that come, go, hang and come back, without a cluster."""

import asyncio
import time

import pytest
import ray
from ray import cloudpickle

from tamt_ray.execution.actors import end
from tamt_ray.execution.scheduler import controllers
from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.board import State
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.messages import (
    Failed,
    Idle,
    Landed,
    Lost,
    Offer,
    Progressed,
    Started,
    Worker,
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
)

pytestmark = pytest.mark.usefixtures("gone")


def test_a_lost_worker_s_unit_comes_back_after_a_pause_and_then_is_set_aside() -> None:
    async def scene() -> None:
        actor = await opened(ONE)
        assert await offered(actor, "a") is ONE
        assert await actor.started("a", ONE.id, 0, HERE) is WorkerCommand.GO_ON
        begin = time.monotonic()
        assert await actor.lost("a", Fault.DIED) == 1
        assert await offered(actor, "b", 15.0) is ONE
        assert time.monotonic() - begin >= 1.0, "not before its pause is over"
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


def test_a_controller_that_stands_still_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gangs at work; the controller of one beats on, the other one's is silent."""
    killed: list[object] = []
    monkeypatch.setattr(ray, "kill", killed.append)
    monkeypatch.setattr(controllers, "_SILENT", 0.4)

    async def scene() -> None:
        actor = await opened(ONE, TWO, patience=0.4)
        await actor.controlled("gang-0", cloudpickle.dumps("controller 0"), False)
        for _ in range(12):
            await actor.controlled("gang-1", cloudpickle.dumps("controller 1"), False)
            await asyncio.sleep(0.1)
        assert killed == ["controller 0"]

    play(scene)


def test_a_unit_without_progress_is_taken_from_all_its_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found within the patience and a quarter of it; steps count as progress, signs of life do
    not; who waits for room on the cluster has not begun."""
    killed: list[object] = []
    silent: list[float | None] = []

    async def scene() -> None:
        actor = await opened(ONE, TWO, patience=0.4)

        def kill(worker: object) -> None:
            killed.append(worker)
            silent.append(actor._assignments["a"].silent)

        monkeypatch.setattr(ray, "kill", kill)
        assert await offered(actor, "a") is ONE
        await actor.started("a", ONE.id, 0, HERE)
        await actor.started("a", ONE.id, 1, THERE)
        assert await offered(actor, "b") is TWO
        for step in range(1, 8):
            await asyncio.sleep(0.1)
            assert await actor.beat("a", ONE.id, 0, step, 9, HERE) is WorkerCommand.GO_ON
        assert killed == []
        while not killed:
            await actor.beat("a", ONE.id, 0, 7, 9, HERE)
            await asyncio.sleep(0.02)
        # By the board's own count, in which a stall of this machine is no more than two looks.
        assert all(seconds and 0.4 < seconds <= 0.6 for seconds in silent)
        assert killed == ["actor 1", "actor 2"]
        lost = [event for event in await heard(actor) if isinstance(event, Lost)]
        assert [(event.unit, event.fault, len(event.logs)) for event in lost] == [
            (ONE.id, Fault.HUNG, 2)
        ]

    play(scene)


def test_a_kill_that_fails_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of workers and not of controllers; the next ones are killed all the same."""
    killed: list[object] = []
    tries: list[bytes] = []
    monkeypatch.setattr(ray, "kill", killed.append)
    monkeypatch.setattr(controllers, "_SILENT", 0.4)
    monkeypatch.setattr(controllers, "end", lambda actor: tries.append(actor) or end(actor))
    broken = b"no handle"

    async def scene() -> None:
        actor = await opened(ONE, TWO, patience=0.2)
        await actor.controlled("gang-0", broken, False)
        await actor.controlled("gang-1", cloudpickle.dumps("controller 1"), False)
        for holder, unit, handle in (("a", ONE, broken), ("b", TWO, THERE.actor)):
            assert await offered(actor, holder) is unit
            await actor.started(holder, unit.id, 0, Worker("here", "node-1", "", handle))
        while len(killed) < 2:
            await asyncio.sleep(0.05)
        assert killed == ["actor 2", "controller 1"]
        while tries.count(broken) < 2:
            await asyncio.sleep(0.05)
        lost = [event.fault for event in await heard(actor) if isinstance(event, Lost)]
        assert lost == [Fault.HUNG, Fault.HUNG]

    play(scene)


def test_work_leaves_a_node_that_will_be_taken_away() -> None:
    """Also where only a companion is there; and the unit is not charged for it."""

    async def scene() -> None:
        actor = await opened(ONE, TWO, retries=0)
        assert await offered(actor, "a") is ONE
        await actor.started("a", ONE.id, 0, HERE)
        await actor.started("a", ONE.id, 1, THERE)
        await actor.drain(frozenset({"node-2"}))
        assert await actor.beat("a", ONE.id, 0, 1, 9, HERE) is WorkerCommand.SAVE
        assert await offered(actor, "b") is TWO
        assert await actor.started("b", TWO.id, 0, THERE) is WorkerCommand.SAVE
        assert await actor.beat("b", TWO.id, 0, 1, 9, THERE) is WorkerCommand.DROP
        await actor.failed("a", 0, failure(ONE), Fault.NODE)
        assert await offered(actor, "c") is ONE
        assert await offered(actor, "d") is TWO
        assert await actor.started("c", ONE.id, 0, HERE) is WorkerCommand.GO_ON

    play(scene)


def test_the_end_of_a_run() -> None:
    """After the first failure of --fail-fast what runs goes on; after a signal it saves."""

    async def scene() -> None:
        actor = await opened(ONE, TWO)
        await offered(actor, "a")
        await actor.started("a", ONE.id, 0, HERE)
        await actor.stop(save=False)
        assert await actor.beat("a", ONE.id, 0, 1, 9, HERE) is WorkerCommand.GO_ON
        assert await actor.take("fleet", "b", 5.0) is Idle.FINISHED
        await actor.stop(save=True)
        assert await actor.beat("a", ONE.id, 0, 2, 9, HERE) is WorkerCommand.STOP
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
            await actor.beat("a", ONE.id, 0, step, 1000, HERE)
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


def test_workers_of_a_board_that_may_get_more_are_told_to_wait_and_get_it_at_once() -> None:
    async def scene() -> None:
        actor = BoardActor(1, 100.0)
        await actor.open(plan_of(ONE), [], [], 0.0, more=True)
        assert await offered(actor, "a") is ONE
        await actor.landed("a", record(ONE))
        assert await actor.take("fleet", "a") is Idle.WAIT
        waiting = asyncio.create_task(offered(actor, "a", 15.0))
        await asyncio.sleep(0.05)
        begin = time.monotonic()
        await actor.extend(plan_of(ONE, TWO), [], more=False)
        assert await waiting is TWO
        assert time.monotonic() - begin < 5
        await actor.landed("a", record(TWO))
        assert await actor.take("fleet", "a", 15.0) is Idle.FINISHED

    play(scene)


def test_a_new_board_is_extended_by_being_opened() -> None:
    """The driver does not wait for a board that nobody but itself can open."""

    async def scene() -> None:
        actor = BoardActor(1, 100.0)
        await actor.extend(plan_of(ONE), [], more=True)
        assert await actor.events(0, 0.0) is None

    play(scene)
