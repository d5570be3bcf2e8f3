"""A node that fails all it gets is given less, where others do well."""

import pytest

from tamt_ray.execution import board_actor
from tamt_ray.execution.board_actor import BoardActor
from tamt_ray.execution.faults import Fault
from tamt_ray.execution.messages import Lost, Order
from tamt_ray.execution.trust import Trust

from .board_scenes import HERE, ONE, THERE, TWO, heard, offered, opened, play, record, tune

pytestmark = pytest.mark.usefixtures("gone")


def test_the_third_in_a_row_is_the_nodes_fault_and_the_next_waits() -> None:
    trust = Trust()
    trust.landed(["good"])
    assert [trust.met(["bad"], Fault.DIED) for _ in range(2)] == [Fault.DIED] * 2
    assert trust.pause("bad") == 0
    assert trust.met(["bad"], Fault.PLACE) is Fault.NODE
    assert trust.pause("bad") == 30
    trust.met(["bad"], Fault.HUNG)
    assert trust.pause("bad") == 60
    for _ in range(20):
        trust.met(["bad"], Fault.DIED)
    assert trust.pause("bad") == 600
    assert trust.pause("good") == 0


def test_one_record_restores_it() -> None:
    trust = Trust()
    trust.landed(["good"])
    for _ in range(5):
        trust.met(["bad"], Fault.DIED)
    trust.landed(["bad"])
    assert trust.pause("bad") == 0
    assert trust.met(["bad"], Fault.DIED) is Fault.DIED


def test_where_no_other_node_does_well_it_may_be_the_units() -> None:
    trust = Trust()
    for node in ("one", "two"):
        assert [trust.met([node], Fault.DIED) for _ in range(9)] == [Fault.DIED] * 9
        assert trust.pause(node) == 0


def test_errors_of_units_count_for_nothing() -> None:
    trust = Trust()
    trust.landed(["good"])
    for fault in (Fault.ERROR, Fault.MEMORY, Fault.NODE, Fault.STOP):
        assert [trust.met(["bad"], fault) for _ in range(9)] == [fault] * 9
    assert trust.pause("bad") == 0


def test_units_outlive_a_node_that_fails_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one retry a unit would be set aside after the second loss on the bad node; from the
    third in a row on the losses are not the unit's, and the good node gets its turn."""
    paused: list[str] = []

    class Watched(Trust):
        def pause(self, node: str) -> float:
            if super().pause(node):
                paused.append(node)
            return 0.0

    monkeypatch.setattr(board_actor, "Trust", Watched)

    async def scene() -> None:
        units = [ONE, TWO, *(tune(seed) for seed in range(3, 6))]
        actor: BoardActor = await opened(*units)
        first = await offered(actor, "g")
        assert await actor.started("g", first.id, 0, HERE) is Order.GO_ON
        await actor.landed("g", record(first))
        for number in range(8):
            unit = await offered(actor, f"b{number}", 10.0)
            assert await actor.started(f"b{number}", unit.id, 0, THERE) is Order.GO_ON
            await actor.lost(f"b{number}", Fault.DIED)
        told = [event for event in await heard(actor) if isinstance(event, Lost)]
        assert [event.fault for event in told] == [Fault.DIED] * 2 + [Fault.NODE] * 6
        assert paused == ["node-2"] * 5

    play(scene)
