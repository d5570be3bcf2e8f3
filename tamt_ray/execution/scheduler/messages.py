"""Messages between workers, board and driver."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tamt_ray.data.history import Point
from tamt_ray.execution.scheduler.faults import AttemptHistory, Fault
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Unit
from tamt_ray.store.record import Failure, Record

BEAT = 2.0
"""Seconds between two heartbeats of a worker, whose replies hold its commands."""

MOST_POINTS = 400
"""Newest points of a curve that one message holds; the whole curve comes with the record."""


class Idle(Enum):
    """Reason for which there is no unit to run."""

    WAIT = "none is ready yet"
    FINISHED = "none will be"


@dataclass(frozen=True)
class Offer:
    """A unit to do, for the `attempt`-th time in this run."""

    unit: Unit
    attempt: int
    wider: bool = False
    """It ran out of memory before: it gets a larger share of a machine."""


class WorkerCommand(Enum):
    """An order to a worker."""

    GO_ON = "go on"
    SAVE = "its node will be taken away: save what can be saved and leave"
    STOP = "the run is ending: save what can be saved and leave; what cannot be saved goes on"
    DROP = "another worker has that unit, or it is finished"


@dataclass(frozen=True)
class Worker:
    """A process at work on a unit."""

    place: str
    """Host, process and GPUs, for people."""
    node: str
    """Id of its node."""
    log: str
    """Path of its output on that node's disk."""
    actor: bytes
    """Handle of its actor, by which it can be killed; still pickled, since the handle loads the
    actor's class, and Torch with it."""


@dataclass(frozen=True)
class LeftLog:
    """Output that a lost worker left on its node, and where it belongs in the store."""

    node: str
    path: str
    to: str


@dataclass(frozen=True)
class Started:
    """A worker began a unit; `place` is its host, process and GPUs."""

    unit: str
    attempt: int
    place: str
    holder: str
    """The gang or trial that the unit was handed to."""


@dataclass(frozen=True)
class Progressed:
    """A unit reached a step."""

    unit: str
    step: int
    steps: int
    points: tuple[Point, ...] = ()
    """Points of its curve since the last event."""


@dataclass(frozen=True)
class Landed:
    """A unit's record is in the store."""

    record: Record


@dataclass(frozen=True)
class Failed:
    """A unit is set aside."""

    failure: Failure
    logs: tuple[LeftLog, ...] = ()


@dataclass(frozen=True)
class Diverged:
    """The loss of a trial of a tuning became no number, which is an outcome of its values."""

    failure: Failure


@dataclass(frozen=True)
class Lost:
    """An attempt ended early; the unit is tried again in `after` seconds."""

    unit: str
    attempt: int
    fault: Fault
    after: float
    past: AttemptHistory
    """History of the unit, this attempt included."""
    logs: tuple[LeftLog, ...] = ()


@dataclass(frozen=True)
class Resized:
    """Nodes came or went; `nodes` are those that are left, for people."""

    nodes: str


@dataclass(frozen=True)
class NodesRequested:
    """No node for units is up, so the autoscaler was asked for these."""

    nodes: str


@dataclass(frozen=True)
class Extended:
    """The sweep has further units: `plan` is all of it."""

    plan: Plan


@dataclass(frozen=True)
class Stopping:
    """The run was asked to end; the `running` units have `grace` seconds."""

    running: int
    grace: float


@dataclass(frozen=True)
class Known:
    """Knowledge of the driver that a restarted board takes over."""

    running: tuple[Started, ...] = ()
    histories: Mapping[str, AttemptHistory] = field(default_factory=dict)
    """Keys are ids of units."""


@dataclass(frozen=True)
class HeadSilent:
    """Nothing listens any more at the address of a cluster's head."""

    address: str


@dataclass(frozen=True)
class HeadBack:
    """The head of the cluster answers again."""

    address: str


@dataclass(frozen=True)
class Rebuilt:
    """An actor was lost and stands again."""

    name: str


Event = (
    Started
    | Progressed
    | Landed
    | Failed
    | Diverged
    | Lost
    | Resized
    | NodesRequested
    | Extended
    | Stopping
    | HeadSilent
    | HeadBack
    | Rebuilt
)
