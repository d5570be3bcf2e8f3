"""Running one trial: train to a rung, evaluate the mask, go on. Knows nothing of Ray."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from tamt_ray.data.blocks import load_text
from tamt_ray.execution.worker.bench import HEAD, MASK, ReadArtifact, UnitBench
from tamt_ray.masks.file import mask_from_bytes, mask_to_bytes
from tamt_ray.masks.mask import Mask
from tamt_ray.plan.expand import measured_terms
from tamt_ray.plan.tuning import Rung, Study
from tamt_ray.search.engine import Progress
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.state import TrainingState
from tamt_ray.search.team import ProcessGroup
from tamt_ray.spec.tuning import Value
from tamt_ray.store.store import Store, StoreError
from tamt_ray.values.identity import identity


class TrialBench:
    """One process's tools for the trials of one study."""

    def __init__(self, study: Study, store: Store, team: ProcessGroup) -> None:
        self._study = study
        self._model = study.sweep.models[study.model]
        self._team = team
        self._head, self._trained = _head(study, store)
        # A model of its own for the losses: a search trains the head and leaves its weights masked.
        self._judge = UnitBench(self._model, team, self._artifact({})).model(self._head)
        self._text = study.sweep.corpus.evaluation()
        self._blocks = load_text(self._text, self._model.source)

    def climb(
        self, values: Mapping[str, Value], progress: Progress | None = None
    ) -> Iterator[Rung]:
        """Yield the losses of a trial's mask at every rung, each computed when it is asked for.

        `progress` is told of every training step.
        Raises NonFiniteLossError, and whatever the search raises.
        """
        keepers: dict[str, _MemoryKeeper] = {}
        for steps in self._study.tuning.rungs:
            mask = self._mask(values, steps, keepers, progress)
            yield Rung(steps, self._losses(mask), time.time())

    def _mask(
        self,
        values: Mapping[str, Value],
        steps: int,
        keepers: dict[str, "_MemoryKeeper"],
        progress: Progress | None,
    ) -> Mask:
        """Return the mask of the last search behind a rung; trainings that a shorter rung has
        begun go on from its state in `keepers`."""
        left: dict[str, Mapping[str, bytes]] = {}
        search = None
        for search in self._study.searches(values, steps):
            trajectory = search.trajectory
            keeper = keepers.setdefault(trajectory, _MemoryKeeper()) if trajectory else None
            bench = UnitBench(self._model, self._team, self._artifact(left), progress, keeper)
            found = search.find(bench)
            left[identity(search)] = {MASK: mask_to_bytes(found.mask), **found.artifacts}
        assert search is not None, "the spec refuses a trial without a search"
        return mask_from_bytes(left[identity(search)][MASK])

    def _losses(self, mask: Mask) -> dict[str, float]:
        with torch.no_grad():
            for name, weight in self._judge.matrices.items():
                weight.copy_(self._judge.dense[name])
        found = pretraining_losses(
            self._judge,
            mask,
            self._blocks,
            measured_terms(self._study.sweep),
            probability=self._text.mlm_probability,
            seed=self._study.sweep.pretrain_eval.seed,
            batch_size=self._study.sweep.pretrain_eval.batch_size,
            device=self._team.device,
        )
        return {name: value for name, value in found.items() if name.endswith("_loss")}

    def _artifact(self, left: Mapping[str, Mapping[str, bytes]]) -> ReadArtifact:
        """Return how to read what the searches of one trial `left`, and the trained head."""

        def read(unit: str, name: str) -> bytes:
            return self._trained if (unit, name) == (self._head, HEAD) else left[unit][name]

        return read


@dataclass
class _MemoryKeeper:
    """Keeps the last state of one training for the next rung, in memory."""

    states: dict[str, TrainingState] = field(default_factory=dict)

    def newest(self) -> str | None:
        """Name the state, if there is one."""
        return next(iter(self.states), None)

    def read(self, name: str) -> TrainingState:
        """Return the state."""
        return self.states[name]

    def due(self, *, last: bool) -> bool:
        """Keep the last state only."""
        return last

    def keep(self, state: TrainingState) -> None:
        """Replace the state."""
        self.states = {str(state.step): state}


def _head(study: Study, store: Store) -> tuple[str | None, bytes]:
    """Return id and weights of the trained MLM head of a model that was published without one."""
    heads = [unit.id for unit in study.ground().units.values() if unit.kind == "head"]
    if not heads:
        return None, b""
    record = store.record("head", heads[0])
    if record is None:
        raise StoreError(f"head {heads[0][:8]} is needed but has no record in the store")
    return heads[0], store.artifact(record, HEAD)
