"""Ray's trainer with a bound on the start of its controller."""

from typing import Any

import ray
from ray._common.constants import RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR
from ray._raylet import RAY_NODE_ID_KEY  # pyright: ignore[reportAttributeAccessIssue]
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController


class BoundedTrainer(TorchTrainer):
    """A `TorchTrainer` whose controller is killed if it is not up within `patience` seconds.

    The controller takes no resources and runs on the driver's own node, so it never waits for a
    node. Once it is up, the board watches it (`Controllers`).
    """

    patience: float

    def _initialize_and_run_controller(self, **settings: Any) -> Any:
        # As Ray does it, which keeps the handle to itself.
        variables = {RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR: "0", **get_env_vars_to_propagate()}
        here = ray.get_runtime_context().get_node_id()
        kind: Any = ray.remote(
            num_cpus=0, label_selector={RAY_NODE_ID_KEY: here}, runtime_env={"env_vars": variables}
        )(TrainController)
        return result_of(kind.remote(**settings), self.patience)


def result_of(controller: Any, patience: float) -> Any:
    """Run a controller that was asked for just now; raises RayError if it is not up within
    `patience` seconds."""
    if not ray.wait([controller.__ray_ready__.remote()], timeout=patience)[0]:
        ray.kill(controller)
    ray.get(controller.run.remote())
    return ray.get(controller.get_result.remote())
