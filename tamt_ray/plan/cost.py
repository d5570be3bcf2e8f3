"""What each unit costs: a rough price at first, corrected by what was measured.

The rough price counts multiply-adds: a training step costs 6 × weights × tokens operations, a
forward pass 2. The operations a second are those that a current data-centre GPU sustains on such
models in 32 bit.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median
from typing import Protocol

from tamt_ray.plan.config import FinetuneConfig, Search
from tamt_ray.plan.unit import Unit
from tamt_ray.tasks.base import Task
from tamt_ray.values.source import parse_source

OPERATIONS_PER_SECOND = 40e12
_ROWS = {
    "cola": (8551, 1043), "sst2": (67349, 872), "mnli": (392702, 9815), "mrpc": (3668, 408),
    "stsb": (5749, 1500), "rte": (2490, 277), "qnli": (104743, 5463), "qqp": (363846, 40430),
    "squad": (87599, 10570),
}  # fmt: skip
_UNKNOWN_ROWS = (10_000, 1_000)


class Timing(Protocol):
    """What a finished unit tells of the time it took."""

    @property
    def seconds(self) -> float:
        """Wall time."""
        ...

    @property
    def device(self) -> str:
        """How many of what, as in `4 x A100`."""
        ...


@dataclass(frozen=True)
class Prices:
    """Seconds that units take on one `device`; where it is empty nothing was measured."""

    device: str = ""
    measured: int = 0
    """Units behind the ratios."""
    ratios: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    """Measured over rough seconds by kind and task or method, by kind, and of all units."""

    def seconds(self, unit: Unit) -> float:
        """By the closest ratio there is; as roughly as `gpu_seconds` where there is none."""
        for key in _classes(unit):
            if key in self.ratios:
                return gpu_seconds(unit) * self.ratios[key]
        return gpu_seconds(unit)


ROUGH = Prices()
"""What is known before anything is measured."""


def prices(units: Mapping[str, Unit], timings: Mapping[str, Timing]) -> Prices:
    """Prices as the finished ones among `units` had them, on the device that most of them ran on.

    A ratio is the median of its units': one that was cut off and went on tells only of its last
    stretch.
    """
    found: dict[str, dict[tuple[str, ...], list[float]]] = {}
    counts: Counter[str] = Counter()
    for unit_id, timing in timings.items():
        unit = units.get(unit_id)
        if unit is None:
            continue
        number, device = _taken_apart(timing.device)
        counts[device] += 1
        ratio = timing.seconds * number / gpu_seconds(unit)
        for key in _classes(unit):
            found.setdefault(device, {}).setdefault(key, []).append(ratio)
    if not counts:
        return ROUGH
    device, number = max(counts.items(), key=lambda each: (each[1], each[0]))
    return Prices(device, number, {key: median(each) for key, each in found[device].items()})


def _taken_apart(device: str) -> tuple[int, str]:
    """`4 x A100` as 4 and A100."""
    number, _, name = device.partition(" x ")
    return (int(number), name) if name and number.isdigit() else (1, device)


def _classes(unit: Unit) -> tuple[tuple[str, ...], ...]:
    """From the closest to the widest."""
    return (unit.kind, unit.cell.task or unit.cell.method), (unit.kind,), ()


def gpu_seconds(unit: Unit) -> float:
    """Return estimated seconds on one GPU; good to a factor of a few."""
    config = unit.config
    if isinstance(config, FinetuneConfig):
        operations = _finetune_operations(config.task) * config.model.parameters
    else:
        operations = config.operations
        if isinstance(config, Search) and unit.begin:
            # A shorter search has done these steps already.
            operations *= 1 - unit.begin / config.own_steps
    return operations / OPERATIONS_PER_SECOND + 1.0


def _finetune_operations(task: Task) -> float:
    """Return the operations per weight of a fine-tune with its evaluations."""
    train, validation = _examples(task)
    steps = max(1, train * task.epochs // task.batch_size)
    evaluations = max(1, steps // task.eval_every)
    read = 6 * train * task.epochs + 2 * validation * evaluations * len(task.validation)
    return read * task.tokens


@lru_cache
def _rows(source: str) -> tuple[int, int]:
    ref = parse_source(source)
    return _ROWS.get(ref.config or ref.name.rsplit("/", 1)[-1], _UNKNOWN_ROWS)


def _examples(task: Task) -> tuple[int, int]:
    known = _rows(task.train.source)
    return (
        min(known[0], task.max_train or known[0]),
        min(known[1], task.max_validation or known[1]),
    )
