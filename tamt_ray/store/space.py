"""Disk space of results."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from tamt_ray.methods.base import Search
from tamt_ray.plan.unit import Unit

_SMALL = 64 * 1024
"""Bytes of a record with its history."""
_STATE = 12
"""Bytes a weight of a training state: a score, and two moments of the optimiser."""


def bytes_needed(units: Iterable[Unit], *, keep_states: bool) -> float:
    """Return the bytes that the results of these units take, from the size each model is said to
    have."""
    total = 0.0
    trajectories: dict[str, float] = {}
    for unit in units:
        weights = unit.config.model.parameters
        total += _SMALL
        if isinstance(unit.config, Search):
            total += weights * (1 / 8 + unit.config.weight_bytes)
            if keep_states and unit.config.length:
                trajectories[unit.trajectory] = weights * _STATE
    return total + sum(trajectories.values())


def bytes_free(place: Path) -> int:
    """Return the bytes free on the disk of a directory that need not exist yet."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
