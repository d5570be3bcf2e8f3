"""A piece of work and its identity."""

from dataclasses import dataclass

from tamt_ray.plan.cell import NOWHERE, Cell
from tamt_ray.plan.config import Kind, Search, UnitConfig
from tamt_ray.values.config import Lane
from tamt_ray.values.identity import identity


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work, and its place in the sweep. Only the config enters its identity."""

    config: UnitConfig
    cell: Cell = NOWHERE
    """The first cell that the unit fills; empty outside a grid."""
    after: str | None = None
    """The unit of the same trajectory with the next fewer steps, whose training goes on here."""
    begin: int = 0
    """Optimiser steps that `after` has done."""
    goes_on: bool = False
    """Whether another unit continues this one's training."""
    runs_in: Lane | None = None
    """Lane, where it is not that of its kind."""
    id: str = ""
    """64 hex digits; computed from the config by default."""

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
        return f"{self.kind} {self.cell} [{self.id[:8]}]"
