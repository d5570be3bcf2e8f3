"""Units, workers and an open board for scenes without a cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ray import cloudpickle

from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.messages import Event, Offer, Worker
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Cell, Unit, parse_config
from tamt_ray.store.record import Failure, Record


def tune(seed: int) -> Unit:
    """A unit of the fleet lane without parents."""
    task = {
        "kind": "regression", "text": ["s"], "train": {"source": "dir:s.csv"},
        "validation": [{"source": "dir:t.csv"}],
    }  # fmt: skip
    config = {"kind": "finetune", "model": {"source": "dir:m"}, "task": task, "seed": seed}
    return Unit(parse_config(config), Cell(seed=seed))


ONE, TWO = tune(1), tune(2)
HERE = Worker("here", "node-1", "/log/1", cloudpickle.dumps("actor 1"))
THERE = Worker("there", "node-2", "/log/2", cloudpickle.dumps("actor 2"))


def plan_of(*units: Unit) -> Plan:
    return Plan({unit.id: unit for unit in units}, {})


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
        id=unit.id, kind=unit.kind, cell=unit.cell, error="OutOfMemoryError", message="CUDA out of "
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
