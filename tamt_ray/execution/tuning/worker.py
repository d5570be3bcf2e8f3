"""The process that runs trials under Ray Tune, one after the other."""

from typing import Any

from ray import tune

from tamt_ray.data.history import NonFiniteLossError
from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.tuning.bench import TrialBench
from tamt_ray.execution.tuning.search import result_of, result_of_end
from tamt_ray.execution.tuning.trials import Draw
from tamt_ray.execution.worker.device import worker_device
from tamt_ray.execution.worker.watchdog import watched_over
from tamt_ray.plan.tuning import Rung, Study
from tamt_ray.search.team import ProcessGroup
from tamt_ray.store.store import Store


class TrialWorker(tune.Trainable):
    """One step is the way to the next rung; the process is reused for the next trial."""

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the study; what can fail is left to the first step, which can tell."""
        config["inherited"].take()
        self._study: Study = config["study"][0]
        self._store: str = config["store"]
        self._patience = float(config["patience"])
        self._gpus = float(config["gpus"])
        self._deterministic = bool(config["deterministic"])
        self._bench: TrialBench | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial."""
        self._draw: Draw = new_config["draw"][0]
        self._rungs = None
        return True

    def step(self) -> dict[str, object]:
        """Climb one rung. A trial's own errors are results; only a dying process fails one."""
        try:
            with watched_over(self._patience) as self._alive:
                rung = self._climb()
        except NonFiniteLossError as error:
            return result_of_end("diverged", str(error))
        except Exception as error:
            if fault_of(error) in {Fault.PLACE, Fault.DIED}:
                # Its process or machine's: another one tries these values again.
                raise
            return result_of_end("failed", f"{type(error).__name__}: {error}")
        return result_of(self._study, rung)

    def _climb(self) -> Rung:
        if self._bench is None:
            team = ProcessGroup(worker_device(self._gpus, deterministic=self._deterministic))
            self._bench = TrialBench(self._study, Store(self._store), team)
        if self._rungs is None:
            # Each rung has a watch of its own.
            self._rungs = self._bench.climb(self._draw.values, lambda *at: self._alive(*at))
        return next(self._rungs)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, object]:
        """Nothing to keep: Tune asks when it pauses a trial to reuse its actor."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, object] | None) -> None:
        """Nothing was kept."""
