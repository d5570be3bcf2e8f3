"""Where the workers of a gang meet: found by each other, and by nobody elsewhere."""

import multiprocessing
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from tamt_ray.execution.gang import rendezvous as meeting

OWN = "127.0.0.2"
"""An address of this machine that nothing else listens on."""


def work(rank: int, where: "Queue[Any]", sums: "Queue[Any]") -> None:
    """What a worker does; the first one says where."""
    meeting.ray.util.get_node_ip_address = lambda: OWN
    if rank == 0:
        where.put(meeting.listen())
    host, port = where.get(timeout=60)
    where.put((host, port))
    meeting.meet("gloo", rank, 2, host, port, 60.0)
    number = torch.tensor([rank + 1.0])
    distributed.all_reduce(number)
    sums.put((rank, number.item(), host, listening(port)))
    distributed.barrier()
    distributed.destroy_process_group()


def listening(port: int) -> set[str]:
    """The addresses at which this machine listens on that port, as the kernel writes them."""
    tables = (Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    sockets = (line.split() for table in tables for line in table)
    return {
        words[1].split(":")[0]
        for words in sockets
        if words[3] == "0A" and int(words[1].split(":")[1], 16) == port
    }


def test_they_meet_at_the_first_one_s_address_only() -> None:
    spawn = multiprocessing.get_context("spawn")
    where, sums = spawn.Queue(), spawn.Queue()
    workers = [spawn.Process(target=work, args=(rank, where, sums)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = sorted(sums.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    # 127.0.0.2 in the kernel's byte order.
    assert found == [(rank, 3.0, OWN, {"0200007F"}) for rank in range(2)]


def test_who_comes_alone_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A companion that was lost before it came does not hold up the gang for ever."""
    monkeypatch.setattr(meeting.ray.util, "get_node_ip_address", lambda: OWN)
    host, port = meeting.listen()
    with pytest.raises((distributed.DistError, RuntimeError, TimeoutError)):
        meeting.meet("gloo", 0, 2, host, port, 1.0)
