"""The processes that control gangs: killed once silent."""

from dataclasses import dataclass

from tamt_ray.execution.actors import end

_SILENT = 60.0
"""Seconds that a controller may be silent: a busy machine may stop it for a while."""


@dataclass
class _Controller:
    actor: bytes
    silent: float = 0.0
    killed: bool = False


class Controllers:
    """The controllers of the gangs that have sent a heartbeat."""

    def __init__(self) -> None:
        self._by_gang: dict[str, _Controller] = {}

    def beat(self, gang: str, actor: bytes) -> None:
        """Take the heartbeat of a controller, by its handle."""
        self._by_gang[gang] = _Controller(actor)

    def wait(self, seconds: float) -> None:
        """Count time without heartbeats; kill controllers that were silent for too long."""
        for controller in self._by_gang.values():
            controller.silent += seconds
            if controller.silent > _SILENT and not controller.killed:
                controller.killed = end(controller.actor)
                # One that could not be killed is tried again after as long a silence.
                controller.silent = 0.0

    def ended(self, gang: str) -> None:
        """Forget the controller of a gang that ended or is lost."""
        self._by_gang.pop(gang, None)
