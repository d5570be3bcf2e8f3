"""Signs of life of the process that steers a gang."""

import threading
import time

import ray
from ray import cloudpickle
from ray.train.v2._internal.execution.callback import ControllerCallback

from tamt_ray.execution.scheduler.client import BoardClient
from tamt_ray.execution.scheduler.messages import BEAT


class Heartbeat(ControllerCallback):
    """Tells the board every two seconds that the controller of a gang lives.

    A thread does so: starting workers may block the controller's own loop for a minute.
    """

    def __init__(self, board: str, gang: str) -> None:
        self._board = board
        self._gang = gang

    def after_controller_start(self, train_run_context: object) -> None:
        """Called in the controller, before it starts any worker."""
        context = ray.get_runtime_context()
        controller = cloudpickle.dumps(context.current_actor)  # pyright: ignore[reportPrivateImportUsage]
        # A thread as an attribute could not travel to the workers with the settings of the run.
        threading.Thread(target=self._beat, args=(controller,), daemon=True).start()

    def _beat(self, controller: bytes) -> None:
        board = BoardClient.named(self._board)
        while True:
            board.steered(self._gang, controller)
            time.sleep(BEAT)
