"""The processes that control gangs: killed once silent, or without a search for too long."""

from collections.abc import Collection
from dataclasses import dataclass

from tamt_ray.execution.actors import end

_SILENT = 60.0
"""Seconds that a controller may be silent: a busy machine may stop it for a while."""
_START = 300.0
"""Seconds that the processes of a gang have at least to start on a busy machine."""


def to_start(patience: float) -> float:
    """Return the seconds within which a controller is up, and within which its gang takes a search
    once it has its places; `patience`: seconds without progress after which a worker counts as
    hung."""
    return max(_START, patience)


@dataclass
class _Controller:
    actor: bytes
    placed: bool = False
    """True once the workers have their places; it may take any time until nodes come."""
    silent: float = 0.0
    idle: float = 0.0
    """Seconds with places and without a search since the gang last asked for one."""
    killed: bool = False


class Controllers:
    """The controllers of the gangs that have sent a heartbeat."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._by_gang: dict[str, _Controller] = {}

    def beat(self, gang: str, actor: bytes, placed: bool) -> None:
        """Take the heartbeat of a controller, by its handle."""
        known = self._by_gang.get(gang)
        idle = known.idle if known and known.actor == actor else 0.0
        self._by_gang[gang] = _Controller(actor, placed, idle=idle)

    def asked(self, gang: str) -> None:
        """Note that a gang asks for a search: it does so every few seconds while it has none."""
        if known := self._by_gang.get(gang):
            known.idle = 0.0

    def wait(self, seconds: float, at_work: Collection[str]) -> None:
        """Count time without heartbeats, and time without a search of gangs that are not among
        those `at_work`; kill controllers for which it is too long."""
        for gang, controller in self._by_gang.items():
            controller.silent += seconds
            waits = controller.placed and gang not in at_work
            controller.idle = controller.idle + seconds if waits else 0.0
            hangs = controller.silent > _SILENT or controller.idle > to_start(self._patience)
            if hangs and not controller.killed:
                controller.killed = end(controller.actor)
                # One that could not be killed is tried again after as long a time.
                controller.silent = controller.idle = 0.0

    def ended(self, gang: str) -> None:
        """Forget the controller of a gang that ended or is lost."""
        self._by_gang.pop(gang, None)
