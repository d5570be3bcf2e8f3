"""A search gang: DDP workers under Ray Train that take one search after the other."""

import tempfile
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from torch import distributed

from tamt_ray.data.history import NonFiniteLossError
from tamt_ray.execution.board_actor import BoardClient, Idle, this_place
from tamt_ray.execution.placement import GangSize
from tamt_ray.execution.work import Workbench, failure_of
from tamt_ray.plan.unit import Unit
from tamt_ray.search.team import Team
from tamt_ray.store.store import Store

_WAIT = 60.0
"""Seconds rank 0 waits for a unit before the others hear from it; far below DDP's time-out."""


def run_gang(name: str, board: str, store: str, size: GangSize, retries: int) -> None:
    """Run one gang until no search is left. Raises what Ray Train raises when it gives up."""
    with tempfile.TemporaryDirectory(prefix="tamt-gang-") as scratch:
        storage = store if "://" in store else str(Path(scratch))
        trainer = TorchTrainer(
            _work,
            train_loop_config={"name": name, "board": board, "store": store},
            torch_config=_connection(size),
            scaling_config=ScalingConfig(
                num_workers=size.workers,
                use_gpu=size.gpus > 0,
                resources_per_worker={
                    "CPU": size.cpus,
                    **({"GPU": size.gpus} if size.gpus else {}),
                },
            ),
            run_config=RunConfig(
                name=name,
                storage_path=storage,
                failure_config=FailureConfig(max_failures=retries),
            ),
        )
        trainer.fit()


class _Alone(TorchConfig):
    """No process group: one worker has nobody to talk to, and torch's meeting point would listen
    on every interface."""

    @property
    def backend_cls(self) -> Any:
        """Ray's backend that does nothing."""
        return Backend


def _connection(size: GangSize) -> TorchConfig:
    if size.workers == 1:
        return _Alone()
    return TorchConfig(backend="nccl" if size.gpus else "gloo")


def _work(config: dict[str, str]) -> None:
    """What every worker of the gang does."""
    board = BoardClient.named(config["board"])
    context = ray.train.get_context()
    team = Team(get_device(), context.get_world_rank(), context.get_world_size())
    bench = Workbench(Store(config["store"]), team, this_place())
    while True:
        offer = _agree(team, board, config["name"])
        if offer is Idle.FINISHED:
            return
        if isinstance(offer, Unit):
            _perform(bench, board, team, offer)


def _agree(team: Team, board: BoardClient, name: str) -> Unit | Idle:
    """What rank 0 was handed, known to all."""
    offers: list[Unit | Idle | None] = [None]
    if team.rank == 0:
        offers = [board.take("gang", name, _WAIT)]
    if team.size > 1:
        distributed.broadcast_object_list(offers, device=team.device)
    assert offers[0] is not None
    return offers[0]


def _perform(bench: Workbench, board: BoardClient, team: Team, unit: Unit) -> None:
    """Do a unit. An error that all workers meet alike sets the unit aside and the gang goes on;
    any other one leaves the workers out of step, so the group is started anew."""
    first = team.rank == 0
    if first:
        board.started(unit.id, bench.place)
    try:
        record = bench.perform(
            unit, (lambda step, steps: board.progressed(unit.id, step, steps)) if first else None
        )
    except NonFiniteLossError as error:
        if first:
            board.failed(failure_of(unit, error, 1))
    except Exception as error:
        # Whatever a unit raises is its result, written down and shown; it is swallowed nowhere.
        board.failed(failure_of(unit, error, 1))
        if team.size > 1:
            raise
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
    else:
        if first:
            board.landed(record)
