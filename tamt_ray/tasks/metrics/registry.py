"""The metrics that a task may name."""

from collections.abc import Mapping
from typing import get_args

from tamt_ray.tasks.metrics.base import Answers, Metric
from tamt_ray.values.plugin import Registry


def _names(kind: type[Metric]) -> tuple[str, ...]:
    """Return the key of a metric. Raises ValueError where its contract is not kept."""
    name, answers = getattr(kind, "name", None), getattr(kind, "answers", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f'{kind.__name__} needs `name: ClassVar[str] = "a_word"`')
    if answers not in get_args(Answers):
        raise ValueError(f"{kind.__name__} needs `answers`, one of {', '.join(get_args(Answers))}")
    return (f"{answers}/{name}",)


METRICS: Registry[Metric] = Registry("tamt_ray.tasks.metrics", "tamt_ray.metrics", Metric, _names)


def metrics_of(answers: Answers) -> Mapping[str, type[Metric]]:
    """Return the metrics that measure such answers, by name."""
    return {kind.name: kind for kind in METRICS.distinct if kind.answers == answers}
