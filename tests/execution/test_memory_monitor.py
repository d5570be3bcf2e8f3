"""A host that runs out of memory: Ray's own memory monitor ends a fine-tune worker."""

from typing import Any

import psutil
import pytest

from tamt_ray.plan.expand import expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
Faults = StartDriver = Any
"""The fixtures' own classes, of `conftest`."""

GIB = 1 << 30
SPARE = 4
"""GiB that may be taken before the monitor strikes; the run itself takes less than two."""


def test_one_that_takes_too_much_is_killed_and_gets_a_wider_share(
    toy: Toy, faults: Faults, start_driver: StartDriver
) -> None:
    """Of four fine-tunes one takes more than the host may give, once: Ray kills its worker, not the
    host; it is told as want of memory, tried again alone on both CPUs, and all are done."""
    toy["finetune_seeds"] = list(range(4))
    greedy = faults.inject("allocate", gib=SPARE + 2, seed=1)
    memory = psutil.virtual_memory()
    limit = (memory.total - memory.available + SPARE * GIB) / memory.total

    driver = start_driver(
        toy, "--only", "finetune/*/full/*", **faults.environment,
        RAY_memory_usage_threshold=f"{limit:.3f}", RAY_memory_monitor_refresh_ms="100",
    )  # fmt: skip
    assert driver.end() == 0, driver.said

    (struck,) = faults.struck(greedy)
    assert struck["has"]["CPU"] == 1
    assert "out of memory" in driver.said
    sweep = Sweep.model_validate(toy)
    units = expand(sweep).units.values()
    tunes = {u.id: u for u in units if u.kind == "finetune" and u.cell.method == "full"}
    assert len(Store(sweep.store).done(tunes)) == 4
