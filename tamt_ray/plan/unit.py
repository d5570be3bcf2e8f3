"""A piece of work and its identity."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tamt_ray.plan.config import Kind, Search, UnitConfig
from tamt_ray.values.identity import identity


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: what it is, and how this sweep names it.

    Labels are the sweep's own words (model, method, task) and never enter the identity; nor does
    `after`, the unit of the same trajectory with the next fewer steps, whose training goes on here
    from the step `begin`, and `goes_on`, whether another unit goes on with this one's.
    """

    config: UnitConfig
    labels: Mapping[str, str | float | int] = field(default_factory=dict)
    after: str | None = None
    begin: int = 0
    goes_on: bool = False
    id: str = ""
    """64 hex digits; found from the config where it is not given."""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", identity(self.config))

    @property
    def kind(self) -> Kind:
        """Which of the four kinds."""
        return self.config.kind

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of the units whose results this one reads."""
        return self.config.parents

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the units that come before this one."""
        return (*self.parents, self.after) if self.after else self.parents

    @property
    def trajectory(self) -> str:
        """64 hex digits shared by searches that differ in their length alone; else the id."""
        config = self.config
        return (config.trajectory if isinstance(config, Search) else None) or self.id

    def __str__(self) -> str:
        words = " ".join(str(value) for value in self.labels.values())
        return f"{self.kind} {words} [{self.id[:8]}]"
