"""Heartbeats of the process that controls a gang."""

import threading
import time

import ray
from ray import cloudpickle
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.util.placement_group import PlacementGroup

from tamt_ray.execution.scheduler.client import BoardClient
from tamt_ray.execution.scheduler.messages import BEAT


class Heartbeat(ControllerCallback, WorkerGroupCallback):
    """Reports to the board every two seconds that the controller of a gang lives, and the places of
    its workers once they have started.

    A thread does so: starting workers may block the controller's own loop for a minute.
    """

    def __init__(self, board: str, gang: str) -> None:
        self._board = board
        self._gang = gang
        self._places: PlacementGroup | None = None

    def after_controller_start(self, train_run_context: object) -> None:
        """Called in the controller, before it starts any worker."""
        context = ray.get_runtime_context()
        controller = cloudpickle.dumps(context.current_actor)  # pyright: ignore[reportPrivateImportUsage]
        # A thread as an attribute could not travel to the workers with the settings of the run.
        threading.Thread(target=self._beat, args=(controller,), daemon=True).start()

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        """Called in the controller, before the workers begin to work."""
        self._places = worker_group.get_worker_group_state().placement_group_handle.placement_group

    def _beat(self, controller: bytes) -> None:
        board = BoardClient.named(self._board)
        while True:
            board.controlled(self._gang, controller, self._places)
            time.sleep(BEAT)
