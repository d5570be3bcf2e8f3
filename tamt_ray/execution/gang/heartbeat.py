"""Heartbeats of the process that controls a gang."""

import functools
import logging
import threading
import time

import ray
from ray import cloudpickle
from ray.exceptions import RayError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.worker_group import worker_group
from ray.util.placement_group import placement_group

from tamt_ray.execution.scheduler.client import BoardClient
from tamt_ray.execution.scheduler.messages import BEAT


class Heartbeat(ControllerCallback):
    """Reports to the board every two seconds that the controller of a gang lives; gives the places
    of its workers the name of the run, so that they are found after its death.

    A thread does so: starting workers may block the controller's own loop for a minute.
    """

    def __init__(self, board: str, gang: str, run: str) -> None:
        self._board = board
        self._gang = gang
        self._run = run

    def after_controller_start(self, train_run_context: object) -> None:
        """Called in the controller, before it starts any worker."""
        # Ray Train leaves them without a name.
        named = functools.partial(placement_group, name=self._run)
        worker_group.placement_group = named  # pyright: ignore[reportPrivateImportUsage]
        context = ray.get_runtime_context()
        controller = cloudpickle.dumps(context.current_actor)  # pyright: ignore[reportPrivateImportUsage]
        # A thread as an attribute could not travel to the workers with the settings of the run.
        threading.Thread(target=self._beat, args=(controller,), daemon=True).start()

    def _beat(self, controller: bytes) -> None:
        while True:
            try:
                BoardClient.named(self._board).controlled(self._gang, controller)
            except (RayError, ValueError) as error:
                # The board is being started anew, or the cluster does not answer for a while.
                logging.getLogger(__name__).warning("a heartbeat is lost: %s", error)
            time.sleep(BEAT)
