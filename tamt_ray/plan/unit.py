"""A piece of work and its identity."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tamt_ray.plan.config import Kind, Search, UnitConfig
from tamt_ray.values.config import Lane
from tamt_ray.values.identity import identity


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: what it is, and how this sweep names it.

    Only `config` enters the identity. Labels are the sweep's own words (model, method, task);
    `after` is the unit of the same trajectory with the next fewer steps, whose training goes on
    here from the step `begin`; `goes_on`: another unit goes on with this one's.
    """

    config: UnitConfig
    labels: Mapping[str, str | float | int] = field(default_factory=dict)
    after: str | None = None
    begin: int = 0
    goes_on: bool = False
    runs_in: Lane | None = None
    """Lane, where it is not that of its kind."""
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
    def lane(self) -> Lane:
        """Where it runs: trained searches in gangs, everything else in the fleet, unless the plan
        says otherwise."""
        return self.runs_in or self.config.lane

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
