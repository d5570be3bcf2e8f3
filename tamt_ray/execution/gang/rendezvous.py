"""Rendezvous of the workers of a gang, at the first one's own address only.

Torch's own meeting point listens on every interface and asks nobody for a token.
"""

import socket
from datetime import timedelta
from typing import Any

import ray
from ray.train.torch.config import TorchConfig, _TorchBackend
from torch import distributed
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

_held: list[TCPStore] = []
"""Meeting points of this process; each lives as long as this list holds it."""


def listen() -> tuple[str, int]:
    """Return the address at which the others find this process."""
    host = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.create_server((host, 0), family=family)
    port = door.getsockname()[1]
    _held[:] = [
        TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=door.detach())
    ]
    return host, port


def meet(backend: str, rank: int, size: int, host: str, port: int, patience: float) -> None:
    """Join the process group of those who meet there; rank 0 is the one who listens.

    Raises what torch raises where the others are not found within `patience` seconds, which they
    also wait for each other later.
    """
    wait = timedelta(seconds=patience)
    store = _held[0] if rank == 0 else TCPStore(host, port, is_master=False, timeout=wait)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)


class OwnAddress(TorchConfig):
    """Ray Train's connection among DDP workers, but for the meeting point."""

    @property
    def backend_cls(self) -> Any:
        """Ray's own backend with another start."""
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Connect all workers."""
        host, port = worker_group.execute_single(0, listen)
        size, patience = len(worker_group), float(backend_config.timeout_s)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, meet, backend_config.backend, rank, size, host, port, patience
                )
                for rank in range(size)
            ]
        )
