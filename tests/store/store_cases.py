"""A unit and what it leaves behind, for the tests of the store and for the processes they start."""

from tamt_ray.plan.unit import Cell, Unit, parse_config
from tamt_ray.store.record import Failure, Record
from tamt_ray.values.identity import written

MASK = bytes(range(200))
CURVE = b'{"step": 1}\n'


def unit(seed: int = 1) -> Unit:
    config = {"kind": "search", "method": "random", "model": {"source": "dir:m"}, "sparsity": 0.5}
    return Unit(parse_config({**config, "seed": seed}), Cell("mini", "random"))


def record_of(one: Unit) -> Record:
    return Record(
        id=one.id, kind=one.kind, config=written(one.config), parents=one.parents,
        metrics={"zeros": 50.0}, sources={"dir:m": "0123"}, started=1.7e9, seconds=2.5,
        device="cpu", place="node", versions={"torch": "2.13.0"},
    )  # fmt: skip


def failure_of(one: Unit) -> Failure:
    return Failure(
        id=one.id, kind=one.kind, cell=one.cell, error="FloatingPointError",
        message="the loss is nan at step 3", traceback="…", attempts=1, at=1.7e9,
    )  # fmt: skip
