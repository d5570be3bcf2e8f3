"""The fine-tune fleet: one Ray Tune run over whatever the board says is ready."""

import tempfile
import uuid
from typing import Any

import torch
from ray import tune
from ray.tune.search import Searcher

from tamt_ray.execution.board_actor import BoardClient, Idle, this_place
from tamt_ray.execution.placement import Slots
from tamt_ray.execution.work import Workbench, failure_of
from tamt_ray.plan.unit import Unit
from tamt_ray.search.team import Team
from tamt_ray.store.store import Store


class ReadyUnits(Searcher):
    """Suggests ready units to Tune; `None` while none is ready, FINISHED at the end."""

    def __init__(self, board: BoardClient, slots: Slots) -> None:
        super().__init__()
        self._board = board
        self._slots = slots
        self._running: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """The config of a trial, or FINISHED, or None to be asked again.

        Slots promised to gangs stay free while the gangs live.
        """
        if len(self._running) >= self._slots.free():
            return None
        match self._board.take("fleet", trial_id):
            case Idle.FINISHED:
                return Searcher.FINISHED
            case Idle.WAIT:
                return None
            case unit:
                self._running[trial_id] = unit.id
                return {"unit": [unit]}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, object] | None = None, error: bool = False
    ) -> None:
        """A trial that ends in an error lost its worker: units report their own errors."""
        unit_id = self._running.pop(trial_id, None)
        if error and unit_id:
            self._board.lost(unit_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's experiment state is not a ledger, the store is."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""


class FleetWorker(tune.Trainable):
    """One process that does a unit a trial and is reused for the next."""

    def setup(self, config: dict[str, object]) -> None:
        """Remember the first unit; the rest of the config never changes."""
        self._board = BoardClient.named(str(config["board"]))
        gpus = float(str(config["gpus"]))
        device = torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")
        if device.type == "cuda" and gpus < 1:
            torch.cuda.set_per_process_memory_fraction(gpus)
        self._bench = Workbench(Store(str(config["store"])), Team(device), this_place())
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """The next unit."""
        units = new_config["unit"]
        assert isinstance(units, list)
        self._unit: Unit = units[0]
        return True

    def step(self) -> dict[str, object]:
        """Do the unit. Its own errors are results; only a dying process fails a trial."""
        unit = self._unit
        self._board.started(unit.id, self._bench.place)
        try:
            record = self._bench.perform(
                unit, lambda step, steps: self._board.progressed(unit.id, step, steps)
            )
        except Exception as error:  # noqa: BLE001 - every error of a unit is recorded as its result
            self._board.failed(failure_of(unit, error, 1))
        else:
            self._board.landed(record)
        return {"done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, object]:
        """Nothing to keep: Tune asks when it pauses a trial to reuse its actor."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, object] | None) -> None:
        """Nothing was kept."""


def run_fleet(board: str, store: str, slots: Slots) -> None:
    """Run fine-tunes until the board has none left. Raises what Tune raises."""
    request = {"CPU": slots.cpus, **({"GPU": slots.gpus} if slots.gpus else {})}
    with tempfile.TemporaryDirectory(prefix="tamt-fleet-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(FleetWorker, request),
            param_space={"board": board, "store": store, "gpus": slots.gpus},
            tune_config=tune.TuneConfig(
                search_alg=ReadyUnits(BoardClient.named(board), slots),
                num_samples=-1,
                max_concurrent_trials=slots.total,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=f"fleet-{uuid.uuid4().hex[:8]}",
                storage_path=store if "://" in store else scratch,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        tuner.fit()
