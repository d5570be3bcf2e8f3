"""The processes that control gangs: killed once silent, their places given back once lost."""

import asyncio
from dataclasses import dataclass

import ray
from ray import cloudpickle
from ray.util.placement_group import PlacementGroup, remove_placement_group

_SILENT = 60.0
"""Seconds that a controller may be silent at least: a busy machine may stop it for a while."""


@dataclass
class _Controller:
    actor: bytes
    places: PlacementGroup | None
    silent: float = 0.0
    killed: bool = False


class Controllers:
    """The controllers of the gangs that have sent a heartbeat."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds without a heartbeat after which a controller counts as hung, if they
        are more than a minute."""
        self._patience = max(_SILENT, patience)
        self._by_gang: dict[str, _Controller] = {}

    def beat(self, gang: str, actor: bytes, places: PlacementGroup | None) -> None:
        """Take the heartbeat of a controller, by its handle; its workers run on `places`."""
        self._by_gang[gang] = _Controller(actor, places)

    def wait(self, seconds: float) -> None:
        """Count time without heartbeats; kill controllers that were silent for too long."""
        for controller in self._by_gang.values():
            controller.silent += seconds
            if controller.silent > self._patience and not controller.killed:
                # One that ended is silent too; to kill it again changes nothing.
                ray.kill(cloudpickle.loads(controller.actor))
                controller.killed = True

    async def lost(self, gang: str) -> None:
        """Give the places of a gang that is gone back to the cluster: they outlive its controller,
        and without a dashboard Ray does not free them."""
        controller = self._by_gang.pop(gang, None)
        if controller and controller.places:
            await asyncio.to_thread(remove_placement_group, controller.places)
