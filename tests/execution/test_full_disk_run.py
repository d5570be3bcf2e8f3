"""A store whose disk runs full in the middle of a sweep."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tamt_ray.plan.expand import expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
StartDriver = Any
"""The fixture's own class, of `conftest`."""


@pytest.fixture
def disk(mount_disk: Callable[[str], Path]) -> Path:
    """With room for what the preflight asks for."""
    return mount_disk("1200m")


def test_the_run_ends_with_a_clear_word_and_goes_on_with_room(
    toy: Toy, start_driver: StartDriver, disk: Path
) -> None:
    """What was finished before stays, nothing counts as failed, and the same command goes on."""
    toy["store"] = str(disk / "results")
    toy["methods"] = ["omp", {"method": "tamt_mlm", "steps": 400}]
    toy["search"]["decay_steps"] = 400
    sweep = Sweep.model_validate(toy)
    plan, store = expand(sweep), Store(sweep.store)

    driver = start_driver(toy)
    driver.wait_for(lambda: list(disk.glob("results/units/*/*/record.json")))
    full = disk / "full"
    with full.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(1 << 20)):
            pass
    assert driver.end() == 1, driver.said
    assert "No space left on device" in driver.said
    assert "free some space" in driver.said
    before = store.done(plan.units)
    assert 0 < len(before) < len(plan.units)
    assert not store.failures(plan.units)

    full.unlink()
    driver = start_driver(toy)
    assert driver.end() == 0, driver.said
    after = store.done(plan.units)
    assert after.keys() == plan.units.keys()
    assert before.items() <= after.items()
    assert not store.verify(after.values())
