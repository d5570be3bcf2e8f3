"""Heartbeats of the process that controls a gang."""

import logging
import threading
import time
from typing import Any

import ray
from ray import cloudpickle
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.worker_group import worker_group
from ray.util.placement_group import PlacementGroup, placement_group

from tamt_ray.execution.scheduler.client import BoardClient
from tamt_ray.execution.scheduler.messages import BEAT


class Heartbeat(ControllerCallback):
    """Reports to the board every two seconds that the controller of a gang lives, and whether its
    workers have their places; gives these the name of the run, so that they are found after its
    death.

    A thread does so: starting workers may block the controller's own loop for a minute.
    """

    def __init__(self, board: str, gang: str, run: str) -> None:
        self._board = board
        self._gang = gang
        self._run = run
        self._places: PlacementGroup | None = None
        self._placed = False

    def after_controller_start(self, train_run_context: object) -> None:
        """Called in the controller, before it starts any worker."""
        worker_group.placement_group = self._named  # pyright: ignore[reportPrivateImportUsage]
        context = ray.get_runtime_context()
        controller = cloudpickle.dumps(context.current_actor)  # pyright: ignore[reportPrivateImportUsage]
        # From here on the board watches: the driver's own bound ends with this call.
        self._report(controller)
        # A thread as an attribute could not travel to the workers with the settings of the run.
        threading.Thread(target=self._beat, args=(controller,), daemon=True).start()

    def _named(self, *bundles: Any, **options: Any) -> PlacementGroup:
        # Ray Train leaves them without a name.
        self._places = placement_group(*bundles, **options, name=self._run)
        return self._places

    def _beat(self, controller: bytes) -> None:
        while True:
            time.sleep(BEAT)
            self._report(controller)

    def _report(self, controller: bytes) -> None:
        try:
            # With a time limit of 0 s Ray always says no.
            self._placed = self._placed or (self._places is not None and self._places.wait(1))
            BoardClient.named(self._board).controlled(self._gang, controller, self._placed)
        except Exception as error:  # noqa: BLE001 - Ray raises plain ones too
            # The board is being started anew, the cluster does not answer for a while, or the
            # places are being given back.
            logging.getLogger(__name__).warning("a heartbeat is lost: %s", error)
