"""Named actors on the head node, and a probe for nodes that have died."""

import logging
import socket
from typing import Any

import ray
from ray import cloudpickle

NAMESPACE = "tamt"
"""Ray namespace of every named actor."""

PROBE = 3.0
"""Seconds within which a live node accepts a connection."""


def is_gone(node: str) -> bool:
    """Return whether a node, by its id, has died, also before Ray notices: Ray takes half a minute,
    and the processes of the node are gone before that."""
    for known in ray.nodes():
        if known["NodeID"] == node and known["Alive"]:
            try:
                where = known["NodeManagerAddress"], known["NodeManagerPort"]
                socket.create_connection(where, timeout=PROBE).close()
            except OSError:
                return True
            return False
    return True


def end(actor: bytes) -> bool:
    """Kill an actor, by its pickled handle; return whether Ray took the request.

    Errors are logged, whatever they are: a watch over several must go on with the others.
    """
    try:
        ray.kill(cloudpickle.loads(actor))
    except Exception:
        logging.getLogger(__name__).exception("an actor cannot be killed")
        return False
    return True


def on_head(kind: type, name: str, *, restarts: bool = False) -> Any:
    """Return a named actor class without CPU, held on the head node, where it outlives spot nodes.

    `restarts`: started anew, empty, whenever it is lost; calls under way are made again.
    """
    often = -1 if restarts else 0
    return ray.remote(kind).options(
        name=name, num_cpus=0, resources={"node:__internal_head__": 0.001},
        max_restarts=often, max_task_retries=often,
    )  # fmt: skip
