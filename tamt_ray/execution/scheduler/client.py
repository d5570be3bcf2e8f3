"""The board as workers and driver call it."""

import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray
from ray import cloudpickle
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, OutOfMemoryError

from tamt_ray.execution.actors import NAMESPACE
from tamt_ray.execution.scheduler.actor import BoardActor
from tamt_ray.execution.scheduler.messages import BEAT, Worker

P = ParamSpec("P")
R = TypeVar("R")


def _remote(
    method: Callable[Concatenate[BoardActor, P], Awaitable[R]],
) -> Callable[Concatenate["BoardClient", P], R]:
    """Return a method that calls this one of the actor and waits for its answer."""

    def call(self: "BoardClient", *arguments: P.args, **named: P.kwargs) -> R:
        while True:
            try:
                answer: Any = getattr(self.actor, method.__name__).remote(*arguments, **named)
                return ray.get(answer, timeout=self.patience)
            except GetTimeoutError:
                ray.kill(self.actor, no_restart=False)
            except OutOfMemoryError:
                # Ray makes a call again by itself when the board is lost, but not when the host
                # killed it for want of memory.
                time.sleep(BEAT)

    return call


@dataclass(frozen=True)
class BoardClient:
    """The board as seen from any process of the cluster: the methods of `BoardActor`."""

    actor: ActorHandle[BoardActor]
    patience: float | None = None
    """Seconds without an answer after which it is killed and begins anew; None: for ever."""

    @staticmethod
    def named(name: str) -> "BoardClient":
        """Return the board of a running sweep."""
        return BoardClient(ray.get_actor(name, NAMESPACE))

    open = _remote(BoardActor.open)
    extend = _remote(BoardActor.extend)
    take = _remote(BoardActor.take)
    demand = _remote(BoardActor.demand)
    started = _remote(BoardActor.started)
    arrived = _remote(BoardActor.arrived)
    beat = _remote(BoardActor.beat)
    landed = _remote(BoardActor.landed)
    failed = _remote(BoardActor.failed)
    lost = _remote(BoardActor.lost)
    controlled = _remote(BoardActor.controlled)
    ended = _remote(BoardActor.ended)
    drain = _remote(BoardActor.drain)
    stop = _remote(BoardActor.stop)
    events = _remote(BoardActor.events)


def this_place() -> str:
    """Host, process and GPUs of the calling worker, for people."""
    gpus = ",".join(map(str, ray.get_gpu_ids()))
    return f"{socket.gethostname()} pid {os.getpid()}" + (f" GPU {gpus}" if gpus else "")


def this_worker(log: str = "") -> Worker:
    """Return the calling worker; `log`: where its output is kept, if it is yet."""
    context = ray.get_runtime_context()
    actor = cloudpickle.dumps(context.current_actor)  # pyright: ignore[reportPrivateImportUsage]
    return Worker(this_place(), context.get_node_id(), log, actor)
