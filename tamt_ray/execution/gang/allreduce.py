"""Speed of the all-reduce of a search gang, measured between the processes of a cluster."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import distributed

from tamt_ray.execution.gang.rendezvous import listen, meet

_BYTES = {"gloo": 16 << 20, "nccl": 256 << 20}
"""Enough that what is measured is the wire and not the first word on it."""
_ROUNDS = 3


class ExchangeError(RuntimeError):
    """The processes did not find each other, or not in time."""


@dataclass(frozen=True)
class Exchange:
    """Result of the exchange."""

    backend: str
    processes: int
    nodes: int
    bytes: int
    seconds: float
    """Seconds of the quickest of a few rounds."""

    @property
    def bandwidth(self) -> float:
        """Bytes a second over the slowest link, as NCCL's own tests count: a ring sends every byte
        2 (n − 1) / n times."""
        return 2 * (self.processes - 1) / self.processes * self.bytes / self.seconds


def exchange(places: Sequence[str], gpus: bool, patience: float) -> Exchange:
    """Run one all-reduce between processes, one on each of `places` (node ids, repeated for each
    GPU of a node); NCCL with `gpus`, else gloo.

    Raises ExchangeError; TimeoutError where there is no room for the processes within `patience`
    seconds.
    """
    backend = "nccl" if gpus else "gloo"
    members: list[Any] = [_member(node, gpus) for node in places]
    try:
        until = time.monotonic() + patience
        ray.get([member.ready.remote() for member in members], timeout=patience)
        host, port = ray.get(members[0].listen.remote(), timeout=patience)
        left = max(1.0, until - time.monotonic())
        sums = [
            member.sum_up.remote(rank, len(members), host, port, backend, left)
            for rank, member in enumerate(members)
        ]
        seconds = max(ray.get(sums, timeout=left + 10))
    except GetTimeoutError as error:
        raise TimeoutError from error
    except RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExchangeError(lines[-1].strip()) from error
    finally:
        for member in members:
            ray.kill(member)
    return Exchange(backend, len(members), len(set(places)), _BYTES[backend], seconds)


class Member:
    """One process of the exchange."""

    def ready(self) -> None:
        """Returns once the process runs."""

    def listen(self) -> tuple[str, int]:
        """Return the address at which the others find this one."""
        return listen()

    def sum_up(
        self, rank: int, size: int, host: str, port: int, backend: str, patience: float
    ) -> float:
        """Return the seconds of one all-reduce. Raises what torch raises where the others are not
        found."""
        meet(backend, rank, size, host, port, patience)
        device = torch.device("cuda" if backend == "nccl" else "cpu")
        numbers = torch.ones(_BYTES[backend] // 4, device=device)
        times: list[float] = []
        for _ in range(1 + _ROUNDS):
            distributed.barrier()
            begun = time.perf_counter()
            distributed.all_reduce(numbers)
            if backend == "nccl":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
        wrong = bool((numbers != float(size) ** (1 + _ROUNDS)).any())
        distributed.destroy_process_group()
        if wrong:
            raise ExchangeError("the sum of the processes' numbers is wrong")
        # The first round makes connections.
        return min(times[1:])


def _member(node: str, gpus: bool) -> Any:
    there: Any = NodeAffinitySchedulingStrategy(node, soft=False)
    kind: Any = ray.remote(Member).options(
        num_cpus=0, num_gpus=1 if gpus else 0, scheduling_strategy=there
    )
    return kind.remote()
