"""The loss terms that a sweep file may name."""

from tamt_ray.objectives.base import Objective
from tamt_ray.values.plugin import Registry, literal_values

OBJECTIVES: Registry[Objective] = Registry(
    "tamt_ray.objectives",
    "tamt_ray.objectives",
    Objective,
    lambda kind: literal_values(kind, "objective"),
)
