"""A search gang: DDP workers under Ray Train that take one search after the other."""

import functools
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, get_device
from ray.util.placement_group import get_placement_group, remove_placement_group
from torch import distributed

from tamt_ray.execution.gang.heartbeat import Heartbeat
from tamt_ray.execution.gang.rendezvous import OwnAddress
from tamt_ray.execution.gang.trainer import BoundedTrainer
from tamt_ray.execution.scheduler.client import BoardClient, this_place
from tamt_ray.execution.scheduler.controllers import to_start
from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault, LeavingError
from tamt_ray.execution.scheduler.messages import Idle, Offer, WorkerCommand
from tamt_ray.execution.scheduler.placement import GangSize
from tamt_ray.execution.worker.attempt import Attempt, committed
from tamt_ray.execution.worker.checkpoint_policy import CheckpointPolicy
from tamt_ray.execution.worker.device import worker_device
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.execution import Execution, SearchLane
from tamt_ray.store.store import Store
from tamt_ray.values.scratch import Scratch

_WAIT = 20.0
"""Seconds a gang waits for a search before it gives up its places: about what it costs to start
another. The other ranks wait for rank 0; far below DDP's time-out."""
_LONGEST_PAUSE = 60.0
_IDLE_GANGS = 3
"""Gangs in a row that may be lost before they begin a unit."""


def run_gang(
    name: str,
    board: str,
    store: Store,
    size: GangSize,
    execution: Execution,
    fits: Callable[[], bool],
) -> None:
    """Run one gang until no search is left, or the cluster no longer `fits` it, and a new one for
    each that is lost.

    Raises what Ray Train raises once too many are lost in a row before they begin a unit; the units
    have budgets of their own.
    """
    client = BoardClient.named(board)
    seen = idle = vain = 0
    while True:
        # Train goes on with what it finds under the name of an earlier run.
        run = f"{name}-{uuid.uuid4().hex[:8]}"
        try:
            with Scratch("gang") as scratch:
                _trainer(name, run, board, store, scratch, size, execution).fit()
            client.ended(name)
            return
        except (TrainingFailedError, RayError) as error:
            _give_back(run)
            if _never_began(error):
                if not fits() or client.lost(name, Fault.NODE) is None:
                    return
                vain += 1
                time.sleep(min(_LONGEST_PAUSE, 2.0**vain))
                continue
            fault = fault_of(error)
            begun = client.lost(name, fault)
            if begun is None:
                return
            # Fewer than before, where the board is new.
            if begun != seen:
                seen, idle = begun, 0
            elif fault is not Fault.NODE:
                idle += 1
            if idle > _IDLE_GANGS:
                raise
            time.sleep(2.0**idle)


def _give_back(run: str) -> None:
    """Give the places of a run back to the cluster: they outlive a killed controller, and without a
    dashboard Ray does not free them."""
    try:
        remove_placement_group(get_placement_group(run))
    except (ValueError, RayError):
        # There are none, or no longer; or Ray does not answer, and the next loss tries again.
        return


def _never_began(error: Exception) -> bool:
    """Return whether Train got no places for the workers, or lost one of them at the start."""
    cause = type(getattr(error, "controller_failure", None)).__name__
    return cause in {"WorkerGroupStartupTimeoutError", "WorkerGroupStartupFailedError"}


def _trainer(
    name: str,
    run: str,
    board: str,
    store: Store,
    scratch: Path,
    size: GangSize,
    execution: Execution,
) -> BoundedTrainer:
    trainer = BoundedTrainer(
        _work,
        train_loop_config={
            "name": name,
            "board": board,
            "store": store.uri,
            "fence": store.fence,
            "lane": execution.search,
            "gpus": size.gpus,
            "deterministic": execution.deterministic,
            "inherited": Inherited.of_this_process(),
        },
        torch_config=_connection(size, execution.patience),
        scaling_config=ScalingConfig(
            num_workers=size.workers,
            use_gpu=size.gpus > 0,
            resources_per_worker={"CPU": size.cpus, **({"GPU": size.gpus} if size.gpus else {})},
        ),
        run_config=RunConfig(
            name=run,
            # Ray takes callbacks of its controller here too.
            callbacks=[Heartbeat(board, name, run)],  # pyright: ignore[reportArgumentType]
            storage_path=store.uri if "://" in store.uri else str(scratch),
            # Each loss is classed and counted here.
            failure_config=FailureConfig(
                max_failures=0, max_preemption_failures=0, controller_failure_limit=0
            ),
        ),
    )
    trainer.patience = to_start(execution.patience)
    return trainer


class _Alone(TorchConfig):
    """No process group: one worker needs none, and Torch's rendezvous would listen on every
    interface."""

    @property
    def backend_cls(self) -> Any:
        """Ray's backend that does nothing."""
        return Backend


def _connection(size: GangSize, patience: float) -> TorchConfig:
    """Workers that wait for a lost one give up no later than the board gives up the unit."""
    if size.workers == 1:
        return _Alone()
    return OwnAddress(backend="nccl" if size.gpus else "gloo", timeout_s=int(patience + _WAIT))


def _work(config: dict[str, Any]) -> None:
    """Run the loop of each worker of the gang."""
    config["inherited"].take()
    board = BoardClient.named(config["board"])
    context = ray.train.get_context()
    device = worker_device(config["gpus"], get_device, deterministic=config["deterministic"])
    group = ProcessGroup(device, context.get_world_rank(), context.get_world_size())
    store = Store(config["store"], config["fence"])
    lane: SearchLane = config["lane"]
    attempts: list[Attempt] = []
    saving = CheckpointPolicy(
        lane.state_every, urgent=lambda: attempts[-1].urgent(), leave_last=lane.keep_states
    )
    runner = UnitRunner(store, group, this_place(), saving)
    while True:
        attempt: Attempt | None = None
        offer: Offer | Idle = Idle.WAIT
        if group.rank == 0:
            offer = board.take("gang", config["name"], _WAIT)
            if isinstance(offer, Offer) and (record := committed(store, offer.unit)):
                board.landed(config["name"], record)
                offer = Idle.WAIT
            if isinstance(offer, Offer):
                attempt = Attempt(board, store, config["name"], offer, 0, group.size)
                offer = _announced(attempt, offer)
        offer = _broadcast(group, offer)
        if offer is Idle.FINISHED:
            return
        if isinstance(offer, Offer):
            unit = offer.unit
            if attempt is None:
                attempt = Attempt(board, store, config["name"], offer, group.rank, group.size)
                if not isinstance(_announced(attempt, offer), Offer):
                    raise LeavingError(Fault.STOP)
            attempts[:] = [attempt]
            # A recording that failed may be why there is a further attempt.
            perform = functools.partial(
                runner.perform, unit, graphs=lane.graphs and offer.attempt == 1
            )
            attempt.carry_out(perform)


def _announced(attempt: Attempt, offer: Offer) -> Offer | Idle:
    """Return the offer, if the unit is to be begun. Raises LeavingError on a node that is to go."""
    match attempt.announce():
        case WorkerCommand.GO_ON:
            return offer
        case WorkerCommand.SAVE:
            raise LeavingError(Fault.NODE)
        case WorkerCommand.STOP | WorkerCommand.DROP:
            return Idle.WAIT


def _broadcast(group: ProcessGroup, offer: Offer | Idle) -> Offer | Idle:
    """Broadcast the offer of rank 0."""
    offers: list[Offer | Idle] = [offer]
    if group.size > 1:
        distributed.broadcast_object_list(offers, device=group.device)
    return offers[0]
