"""The processes that control gangs: killed once silent, their places given back once lost."""

import asyncio
from dataclasses import dataclass

import ray
from ray import cloudpickle
from ray.util.placement_group import PlacementGroup, remove_placement_group

_SILENT = 60.0
"""Seconds that a controller may be silent: a busy machine may stop it for a while."""


@dataclass
class _Controller:
    actor: bytes
    places: PlacementGroup | None
    silent: float = 0.0
    killed: bool = False


class Controllers:
    """The controllers of the gangs that have sent a heartbeat."""

    def __init__(self) -> None:
        self._by_gang: dict[str, _Controller] = {}

    def beat(self, gang: str, actor: bytes, places: PlacementGroup | None) -> None:
        """Take the heartbeat of a controller, by its handle; its workers run on `places`."""
        self._by_gang[gang] = _Controller(actor, places)

    def wait(self, seconds: float) -> None:
        """Count time without heartbeats; kill controllers that were silent for too long."""
        for controller in self._by_gang.values():
            controller.silent += seconds
            if controller.silent > _SILENT and not controller.killed:
                ray.kill(cloudpickle.loads(controller.actor))
                controller.killed = True

    def ended(self, gang: str) -> None:
        """Forget the controller of a gang that ended well: Ray Train gave its places back."""
        self._by_gang.pop(gang, None)

    async def lost(self, gang: str) -> None:
        """Give the places of a gang that is gone back to the cluster: they outlive its controller,
        and without a dashboard Ray does not free them."""
        controller = self._by_gang.pop(gang, None)
        if controller and controller.places:
            await asyncio.to_thread(remove_placement_group, controller.places)
