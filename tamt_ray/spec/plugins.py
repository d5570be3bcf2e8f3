"""Plug-ins of other packages that are installed and cannot be used."""

from collections.abc import Iterator

from tamt_ray.methods.registry import METHODS
from tamt_ray.objectives.registry import OBJECTIVES
from tamt_ray.tasks.metrics.registry import METRICS
from tamt_ray.tasks.registry import TASKS
from tamt_ray.values.plugin import Refused


def refused() -> Iterator[Refused]:
    """Yield each one once."""
    for registry in (METHODS, OBJECTIVES, TASKS, METRICS):
        yield from registry.refused.values()
