"""A node that fails all it gets is given less, where others do well."""

import asyncio

import pytest

from tamt_ray.execution.scheduler import faults as trust_module
from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.faults import Fault, NodeHealth
from tamt_ray.execution.scheduler.messages import Failed, Lost, WorkerCommand

from .board_scenes import HERE, THERE, failure, heard, offered, opened, play, record, tune

pytestmark = pytest.mark.usefixtures("gone")


def lose(trust: NodeHealth, node: str, *units: str, fault: Fault = Fault.DIED) -> list[Fault]:
    return [trust.charge([node], unit, fault) for unit in units]


def test_the_third_unit_is_the_nodes_fault_and_the_next_waits() -> None:
    trust = NodeHealth()
    trust.landed(["good"])
    assert lose(trust, "bad", "a", "b") == [Fault.DIED] * 2
    assert trust.pause("bad") == 0
    assert trust.charge(["bad"], "c", Fault.PLACE) is Fault.SHUNNED
    assert trust.pause("bad") == 30
    lose(trust, "bad", "d", fault=Fault.HUNG)
    assert trust.pause("bad") == 60
    lose(trust, "bad", *map(str, range(20)))
    assert trust.pause("bad") == 600
    assert trust.pause("good") == 0


def test_a_unit_that_crashes_wherever_it_runs_says_nothing_of_its_node() -> None:
    trust = NodeHealth()
    trust.landed(["good"])
    assert lose(trust, "node", *["same"] * 40) == [Fault.DIED] * 40
    assert trust.pause("node") == 0


def test_one_record_restores_it() -> None:
    trust = NodeHealth()
    trust.landed(["good"])
    lose(trust, "bad", *"abcde")
    trust.landed(["bad"])
    assert trust.pause("bad") == 0
    assert lose(trust, "bad", "f") == [Fault.DIED]


def test_where_no_other_node_has_done_well_lately_it_may_be_the_units(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trust, now = NodeHealth(), 100.0
    monkeypatch.setattr(trust_module.time, "monotonic", lambda: now)
    for node in ("one", "two"):
        assert lose(trust, node, *"abcdefghi") == [Fault.DIED] * 9
        assert trust.pause(node) == 0
    trust.landed(["gone"])
    assert trust.pause("one") > 0
    now += 3601
    assert trust.pause("one") == 0


def test_errors_of_units_count_for_nothing() -> None:
    trust = NodeHealth()
    trust.landed(["good"])
    for fault in (Fault.ERROR, Fault.MEMORY, Fault.NODE, Fault.STOP):
        assert lose(trust, "bad", *"abcdefghi", fault=fault) == [fault] * 9
    assert trust.pause("bad") == 0


def test_units_outlive_a_node_that_fails_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one retry each unit would be set aside after its second loss there. From the third unit
    on they are not charged, and while the bad node waits the good one does what it was handed."""
    monkeypatch.setattr(trust_module, "_FIRST", 3.0)

    async def scene() -> None:
        units = [tune(seed) for seed in range(1, 6)]
        actor: BoardActor = await opened(*units)
        first = await offered(actor, "g")
        assert await actor.started("g", first.id, 0, HERE) is WorkerCommand.GO_ON
        await actor.landed("g", record(first))
        for number in range(3):
            unit = await offered(actor, f"b{number}")
            assert await actor.started(f"b{number}", unit.id, 0, THERE) is WorkerCommand.GO_ON
            await actor.lost(f"b{number}", Fault.DIED)
        told = [event for event in await heard(actor) if isinstance(event, Lost)]
        assert [event.fault for event in told] == [Fault.DIED] * 2 + [Fault.SHUNNED]
        last = await offered(actor, "b3")
        waiting = asyncio.ensure_future(actor.started("b3", last.id, 0, THERE))
        taken = set[str]()
        while last.id not in taken:
            unit = await offered(actor, "g", 10.0)
            taken.add(unit.id)
            assert await actor.started("g", unit.id, 0, HERE) is WorkerCommand.GO_ON
            await actor.landed("g", record(unit))
        assert not waiting.done()
        assert await waiting is WorkerCommand.DROP

    play(scene)


def test_the_end_of_a_process_that_only_arrived_is_held_against_its_node() -> None:
    """It could not even read the store, so it never announced its unit."""

    async def scene() -> None:
        actor = await opened(*(tune(seed) for seed in range(1, 6)))
        first = await offered(actor, "g")
        await actor.arrived("g", HERE)
        await actor.landed("g", record(first))
        for number in range(3):
            await offered(actor, f"b{number}")
            await actor.arrived(f"b{number}", THERE)
            await actor.lost(f"b{number}", Fault.DIED)
        told = [event for event in await heard(actor) if isinstance(event, Lost)]
        assert [event.fault for event in told] == [Fault.DIED] * 2 + [Fault.SHUNNED]

    play(scene)


@pytest.mark.parametrize(
    ("error", "shunned"), [("UnwritableError", False), ("NotSharedError", True)]
)
def test_a_full_disk_is_told_as_such_whatever_the_node(error: str, shunned: bool) -> None:
    """A node whose store is another one than the driver's gets no units instead."""

    async def scene() -> None:
        units = [tune(seed) for seed in range(1, 6)]
        actor = await opened(*units, retries=0)
        first = await offered(actor, "g")
        await actor.arrived("g", HERE)
        await actor.landed("g", record(first))
        for number in range(4):
            unit = await offered(actor, f"b{number}")
            await actor.started(f"b{number}", unit.id, 1, THERE)
            full = failure(unit).model_copy(update={"error": error})
            await actor.failed(f"b{number}", 0, full, Fault.PLACE)
        events = await heard(actor)
        failed = [event.failure for event in events if isinstance(event, Failed)]
        assert {each.error for each in failed} == {error}
        assert len(failed) == (2 if shunned else 4)
        assert any(isinstance(e, Lost) and e.fault is Fault.SHUNNED for e in events) is shunned

    play(scene)
