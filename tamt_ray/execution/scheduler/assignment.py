"""The assignment of a unit to a worker, and the report of its loss."""

import time
from dataclasses import dataclass, field

from tamt_ray.execution.actors import end
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.messages import LeftLog, Worker
from tamt_ray.plan.unit import Unit
from tamt_ray.store.logs import log_path
from tamt_ray.store.record import Failure

_ERRORS = {
    Fault.MEMORY: "OutOfMemory", Fault.DIED: "WorkerDied", Fault.HUNG: "NoProgress",
    Fault.NODE: "NodeLost", Fault.SHUNNED: "NodeFails", Fault.PLACE: "PlaceFailed",
    Fault.ERROR: "WorkerFailed", Fault.STOP: "Stopped",
}  # fmt: skip
"""Names of failures that raised no exception."""


@dataclass
class Assignment:
    """A unit that a holder works on."""

    unit: str
    attempt: int
    step: int = 0
    silent: float | None = None
    """Seconds since it began or got further; None before it begins, which may have to wait for
    room on the cluster."""
    workers: dict[int, Worker] = field(default_factory=dict)
    """Keys are ranks."""

    @property
    def nodes(self) -> set[str]:
        """Ids of the nodes it is worked on."""
        return {worker.node for worker in self.workers.values()}

    def wait(self, seconds: float) -> float:
        """Count time without progress; return all of it, 0 before the unit begins."""
        if self.silent is not None:
            self.silent += seconds
        return self.silent or 0.0

    def kill(self) -> None:
        """Kill the workers."""
        for worker in self.workers.values():
            end(worker.actor)


def failure_of(
    unit: Unit, attempts: int, fault: Fault, reason: str, reported: Failure | None
) -> Failure:
    """Return the failure of a unit that is set aside after so many `attempts`: the error that its
    worker reported, or else the fault."""
    if reported and fault in {Fault.ERROR, Fault.MEMORY, Fault.PLACE}:
        message = reported.message if fault is Fault.ERROR else f"{reported.message} ({reason})"
        return reported.model_copy(update={"message": message, "attempts": attempts})
    words = f" ({reported.error}: {reported.message})" if reported else ""
    return Failure(
        id=unit.id, kind=unit.kind, cell=unit.cell, error=_ERRORS[fault],
        message=f"{reason}{words}; `tamt logs` shows what it wrote",
        traceback=reported.traceback if reported else "",
        attempts=attempts, at=time.time(),
    )  # fmt: skip


def left_logs(hold: Assignment, unit: Unit, reported: int | None) -> tuple[LeftLog, ...]:
    """Return the logs of all its workers, except the rank that reported and keeps its own."""
    return tuple(
        LeftLog(worker.node, worker.log, log_path(unit.kind, unit.id, hold.attempt, rank))
        for rank, worker in hold.workers.items()
        if rank != reported and worker.log
    )
