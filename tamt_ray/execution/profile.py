"""Profile of a search step and of a fine-tune on this machine."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.phases import Seconds, watched
from tamt_ray.execution.worker.bench import UnitBench
from tamt_ray.execution.worker.device import keep_freed_memory
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.masks.mask import Mask
from tamt_ray.methods.trained import TrainedSearch
from tamt_ray.plan.unit import FinetuneConfig, Kind, Unit
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.values.model import Model

STEPS = 5
VALIDATION = 256
"""Examples of the one evaluation of a fine-tune."""
_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Profile:
    """Seconds of one unit's training: `steps` steps, and the parts of them that have a name."""

    unit: Unit
    steps: int
    seconds: float
    phases: Seconds

    def rows(self) -> Iterator[tuple[str, float, float]]:
        """Phase, milliseconds a step, per cent of the whole; what has no name comes last."""
        rest = self.seconds - sum(self.phases.values())
        for name, seconds in [*self.phases.items(), ("other", rest)]:
            yield name, 1000 * seconds / self.steps, 100 * seconds / self.seconds


def first_units(units: Iterable[Unit]) -> list[Unit]:
    """Return the first search that trains and the first fine-tune, as far as there are any."""
    found: dict[Kind, Unit] = {}
    for unit in units:
        if isinstance(unit.config, TrainedSearch | FinetuneConfig):
            found.setdefault(unit.kind, unit)
    return list(found.values())


def time_steps(unit: Unit) -> Profile:
    """Train some steps of a search or a fine-tune, after some that do not count.

    Nothing is read from the store or written there: a search has the published head or a fresh one,
    a fine-tune evaluates once, under the OMP mask of half the weights where it has a mask.
    Raises SourceError for sources that cannot be read, and ValueError for a unit that does not
    train.
    """
    keep_freed_memory()
    match unit.config:
        case TrainedSearch() as config:
            _search(config, 1)
            with watched() as phases:
                seconds = _search(config, STEPS)
        case FinetuneConfig() as config:
            finetuner = Finetuner(_DEVICE)
            mask = _mask(config.model) if config.mask else None
            _finetune(finetuner, config, mask, STEPS)
            with watched() as phases:
                seconds = _finetune(finetuner, config, mask, STEPS)
        case _:
            raise ValueError(f"{unit} does not train; name a search by training or a fine-tune")
    return Profile(unit, STEPS, seconds, phases)


def _search(search: TrainedSearch, steps: int) -> float:
    """Return the seconds of so many steps; without its parents, as if it were the first."""
    alone = {name: None for name, value in vars(search).items() if value in search.parents}
    bench = UnitBench(search.model, ProcessGroup(_DEVICE), _nothing, steps=steps)
    history = search.model_copy(update=alone).find(bench).history
    return history.seconds if history else 0.0


def _nothing(unit: str, name: str) -> bytes:
    raise ValueError(f"{name} of {unit[:8]} is needed, and a profile reads no results")


def _mask(model: Model) -> Mask:
    path = load_checkpoint(model.source).path
    dense = LanguageModel(path, prune=model.prune, pooler=model.pooler).dense
    return Mask.by_magnitude(dense, 0.5)


def _finetune(finetuner: Finetuner, config: FinetuneConfig, mask: Mask | None, steps: int) -> float:
    """Return the seconds of so many steps and one evaluation."""
    task = config.task.model_copy(
        update={
            "max_train": steps * config.task.batch_size, "max_validation": VALIDATION, "epochs": 1,
            "eval_every": steps,
        }
    )  # fmt: skip
    begin = time.perf_counter()
    finetuner.run(config.model, task, config.seed, mask)
    return time.perf_counter() - begin
