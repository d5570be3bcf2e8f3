"""Several whole runs on one store on S3: sweeps that overlap, one sweep twice, a take-over."""

import os
import signal
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tests.s3_server import S3, s3

__all__ = ["s3"]
pytestmark = pytest.mark.faults

Toy = dict[str, Any]
StartDriver = Any
"""The fixture's own class, of `conftest`."""


@contextmanager
def first_seen(store: Store, plan: Plan) -> Generator[dict[str, Record]]:
    """Each record as it was first, collected twice a second until the block ends."""
    seen: dict[str, Record] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            for unit, record in store.done(plan.units).items():
                seen.setdefault(unit, record)

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(look)
        try:
            yield seen
        finally:
            over.set()
        watching.result()


def test_drivers_share_a_store_on_s3(toy: Toy, start_driver: StartDriver, s3: S3) -> None:
    """Two sweeps that have OMP and the dense model in common run at once, and every tenth request
    fails. A second driver of the first sweep is refused and says who runs it. The first one is
    killed behind its first unit; the same command takes over at once. Both end well, all is there,
    and no unit was begun after it had been committed."""
    toy["store"] = s3.uri
    toy["methods"] = ["omp", {"method": "tamt_mlm", "steps": 6}]
    toy["execution"] = {"search": {"workers": 1}}
    other = toy | {"name": "other", "methods": ["omp", "random"]}
    plans = [expand(Sweep.model_validate(sweep)) for sweep in (toy, other)]
    units = {**plans[0].units, **plans[1].units}
    assert len(units) < len(plans[0].units) + len(plans[1].units), "they overlap"
    store = Store(s3.uri)
    with first_seen(store, Plan(units, {})) as seen:
        one = start_driver(toy)
        one.wait_for(lambda: " to run" in one.said)
        two = start_driver(other)
        two.wait_for(lambda: " to run" in two.said)
        refused = start_driver(toy)
        assert refused.end(200) == 3, refused.said
        holder = f"(host {os.uname().nodename}, pid {one.pid}, since 20"
        assert f"another driver runs this sweep {holder}" in refused.said
        one.wait_for(lambda: "done   " in one.said)
        os.kill(one.pid, signal.SIGKILL)
        assert one.end(100) == 3, one.said
        heir = start_driver(toy)
        assert heir.end() == 0, heir.said
        assert "another driver may be at work" not in heir.said, "the dead one was seen to be dead"
        assert two.end() == 0, two.said
    found = store.done(units)
    assert found.keys() == units.keys()
    assert store.verify(found.values()) == []
    assert seen.keys() == found.keys(), "the first one's were seen before they could be done again"
    for unit, record in found.items():
        before = seen[unit]
        assert record.started < before.started + before.seconds + 1, units[unit]
    assert s3.web.failed, "requests did fail"
