"""The kinds of task that a sweep file may name."""

from tamt_ray.tasks.base import Task
from tamt_ray.values.plugin import Registry, literal_values


def _names(kind: type[Task]) -> tuple[str, ...]:
    """Return the name of a kind. Raises ValueError where its contract is not kept."""
    for needed in ("answers", "words", "auto_class"):
        if not hasattr(kind, needed):
            raise ValueError(f"{kind.__name__} needs `{needed}: ClassVar`")
    return literal_values(kind, "kind")


TASKS: Registry[Task] = Registry("tamt_ray.tasks", "tamt_ray.tasks", Task, _names)
