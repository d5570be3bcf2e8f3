"""The fine-tune fleet: one Ray Tune run over whatever the board says is ready.

Ray Tune is changed in two places: a host that runs out of memory costs it a trial and no more, and
it copies no credentials into Ray's logs."""

import logging
import time
import uuid
from pathlib import Path
from typing import Any

from ray import tune
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import OutOfMemoryError
from ray.tune.execution import class_cache, tune_controller
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from tamt_ray.execution.scheduler.client import BoardClient, this_place, this_worker
from tamt_ray.execution.scheduler.errors import KilledForMemoryError, fault_of
from tamt_ray.execution.scheduler.faults import Fault, LeavingError
from tamt_ray.execution.scheduler.messages import Idle, Offer, WorkerCommand
from tamt_ray.execution.scheduler.placement import Slots
from tamt_ray.execution.worker.attempt import Attempt, committed
from tamt_ray.execution.worker.device import worker_device
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.execution import Execution
from tamt_ray.store.lease import Fence
from tamt_ray.store.store import Store
from tamt_ray.values.scratch import Scratch

_SLICE = 10.0
"""Seconds for which a trial takes on further units; so long a gang waits at most for places that
short units keep. A trial costs Tune 40 ms beside its work, a further unit a call to the board."""
_MOST = 4096
"""Trials at once, more than any cluster has places."""
_LOOK = 1.0
"""Seconds between two looks for places while gangs have them all."""


def fit(tuner: tune.Tuner) -> None:
    """Run it. Raises what Tune raises."""
    # There is no public way to give Tune another one.
    tune_controller.RayActorManager = _ActorManager  # pyright: ignore[reportPrivateImportUsage]
    # Tune copies these variables into the runtime_env of its workers, which Ray logs.
    class_cache.ENV_VARS_TO_PROPAGATE = {
        name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")
    }
    tuner.fit()


class _ActorManager(RayActorManager):
    """Maps the error of a worker that Ray's memory monitor killed: Tune does not know it and would
    end the whole run."""

    def _actor_task_failed(
        self, tracked_actor_task: TrackedActorTask, exception: Exception
    ) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = KilledForMemoryError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


class ReadyUnits(Searcher):
    """Suggests ready units to Tune; `None` while none is ready, FINISHED at the end."""

    def __init__(self, board: BoardClient, slots: Slots) -> None:
        super().__init__()
        self._board = board
        self._slots = slots
        self._running: dict[str, int] = {}
        """Trials, with the slots that each takes."""
        self.over = False
        """True once the board has no more units for the fleet."""

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a trial, or FINISHED, or None to be asked again.

        Slots promised to gangs stay free while the gangs live. Where that is all there are, as
        after the loss of a node, the run of Tune ends: it would keep an idle worker in its place.
        """
        free = self._slots.free()
        if sum(self._running.values()) >= free:
            return None if free or self._running else Searcher.FINISHED
        match self._board.take("fleet", trial_id):
            case Idle.FINISHED:
                self.over = True
                return Searcher.FINISHED
            case Idle.WAIT:
                return None
            case offer:
                share = self._slots.wider if offer.wider else self._slots.share
                self._running[trial_id] = share.slots
                return {
                    "offer": [offer], "holder": trial_id, "cpus": share.cpus, "gpus": share.gpus,
                }  # fmt: skip

    def on_trial_complete(
        self, trial_id: str, result: dict[str, object] | None = None, error: bool = False
    ) -> None:
        """Its slots are free again."""
        self._running.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's experiment state is not a ledger, the store is."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""


class LostWorkers(tune.Callback):
    """Tells the board of trials whose worker was lost."""

    def __init__(self, board: BoardClient) -> None:
        self._board = board

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Report a worker that died without reporting itself; only Ray knows of it."""
        error = trial.get_pickled_error()
        if error is None:
            # On an object store the error itself comes later than what Tune wrote down about it.
            written = Path(trial.error_file).read_text() if trial.error_file else "worker died"
            error = RuntimeError(written)
        self._board.lost(trial.trial_id, fault_of(error))


class FleetWorker(tune.Trainable):
    """One process that does a unit a trial, or several short ones, and is reused for the next."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Return one bundle; only trials with equal bundles share a process."""
        gpus = {"GPU": config["gpus"]} if config["gpus"] else {}
        return PlacementGroupFactory([{"CPU": config["cpus"], **gpus}])

    def setup(self, config: dict[str, object]) -> None:
        """Remember the first unit; the rest of the config never changes."""
        inherited = config["inherited"]
        assert isinstance(inherited, Inherited)
        inherited.take()
        self._board = BoardClient.named(str(config["board"]))
        # Before anything that may hang or fail for the machine's sake, as a stale mount does.
        self._board.arrived(str(config["holder"]), this_worker())
        self._gpus = float(str(config["gpus"]))
        execution = config["execution"]
        assert isinstance(execution, Execution)
        self._execution = execution
        fence = config["fence"]
        assert fence is None or isinstance(fence, Fence)
        self._store = Store(str(config["store"]), fence)
        self._made: UnitRunner | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Return the next unit."""
        offers = new_config["offer"]
        assert isinstance(offers, list)
        self._offer: Offer = offers[0]
        self._holder = str(new_config["holder"])
        return True

    def step(self) -> dict[str, object]:
        """Do the unit, and more while they are short. Their own errors are results; a trial fails
        only where the process must end: it is spoiled, or its node is about to go."""
        self._board.arrived(self._holder, this_worker())
        # With a larger share it would do what others do with less.
        until = time.monotonic() + (0.0 if self._offer.wider else _SLICE)
        offer: Offer | Idle = self._offer
        while isinstance(offer, Offer) and self._do(offer) and time.monotonic() < until:
            offer = self._board.take("fleet", self._holder, alike=True)
        return {"done": True}

    def _do(self, offer: Offer) -> bool:
        """Carry out the offer; return whether it was this worker's to do."""
        if record := committed(self._store, offer.unit):
            self._board.landed(self._holder, record)
            return True
        attempt = Attempt(self._board, self._store, self._holder, offer)
        match attempt.announce():
            case WorkerCommand.GO_ON:
                # A recording that failed may be why there is a further attempt.
                graphs = self._execution.finetune.graphs and offer.attempt == 1
                attempt.carry_out(
                    lambda progress: self._runner().perform(offer.unit, progress, graphs=graphs)
                )
                return True
            case WorkerCommand.SAVE:
                raise LeavingError(Fault.NODE)
            case WorkerCommand.STOP | WorkerCommand.DROP:
                return False

    def _runner(self) -> UnitRunner:
        if self._made is None:
            device = worker_device(
                self._gpus,
                deterministic=self._execution.deterministic,
                mps=self._execution.finetune.share == "mps",
            )
            self._made = UnitRunner(self._store, ProcessGroup(device), this_place())
        return self._made

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, object]:
        """Nothing to keep: Tune asks when it pauses a trial to reuse its actor."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, object] | None) -> None:
        """Do nothing: no checkpoint is kept."""


def run_fleet(board: str, store: Store, slots: Slots, execution: Execution) -> None:
    """Run fine-tunes until the board has none left. Raises what Tune raises."""
    client = BoardClient.named(board)
    # Lost trials are the board's to tell; what Tune itself cannot do, it raises.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    over = False
    while not over:
        while not slots.free():
            time.sleep(_LOOK)
        with Scratch("fleet") as scratch:
            units = ReadyUnits(client, slots)
            config = {
                "board": board,
                "store": store.uri,
                "fence": store.fence,
                "execution": execution,
                "inherited": Inherited.of_this_process(),
            }
            fit(_tuner(config, scratch, units, LostWorkers(client)))
        over = units.over


def _tuner(
    config: dict[str, Any], scratch: Path, units: ReadyUnits, losses: LostWorkers
) -> tune.Tuner:
    store = str(config["store"])
    return tune.Tuner(
        FleetWorker,
        param_space=config,
        tune_config=tune.TuneConfig(
            search_alg=units,
            num_samples=-1,
            # How many run at once `ReadyUnits` knows, since nodes may come. Without a number Tune
            # would let one trial at a time wait for its process.
            max_concurrent_trials=_MOST,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=f"fleet-{uuid.uuid4().hex[:8]}",
            storage_path=store if "://" in store else str(scratch),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[losses],
            verbose=0,
        ),
    )
