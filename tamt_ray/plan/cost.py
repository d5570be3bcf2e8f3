"""The price of each unit in seconds: rough at first, corrected by the units that are finished.

The rough price counts multiply-adds: a training step costs 6 × weights × tokens operations, a
forward pass 2. The operations per second are those of a current data-centre GPU on such models in
32 bit, or those that this machine's CPU reaches in a short matrix product.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Protocol

from tamt_ray.plan.sizes import rows, tokens, weights
from tamt_ray.plan.unit import TOKENS, FinetuneConfig, PretrainEvalConfig, Search, Unit
from tamt_ray.spec.execution import Execution
from tamt_ray.tasks.base import Task
from tamt_ray.values.config import Kind
from tamt_ray.values.table import parse_source

OPERATIONS_PER_SECOND = 40e12
"""Of a GPU."""
_START = 1.0
"""Seconds of a unit beside its operations: opening the model and the data."""
_ROWS = {
    "cola": (8551, 1043), "sst2": (67349, 872), "mnli": (392702, 9815), "mrpc": (3668, 408),
    "stsb": (5749, 1500), "rte": (2490, 277), "qnli": (104743, 5463), "qqp": (363846, 40430),
    "squad": (87599, 10570),
}  # fmt: skip
_UNKNOWN_ROWS = (10_000, 1_000)
Class = tuple[str, ...]
"""Units whose prices are alike: those of a kind and task or method, of a kind, or all."""


class Timing(Protocol):
    """The time that a finished unit took."""

    @property
    def seconds(self) -> float:
        """Wall time."""
        ...

    @property
    def device(self) -> str:
        """How many of which device, as in `4 x A100`."""
        ...


@dataclass(frozen=True)
class Prices:
    """Seconds that units take on one `device`."""

    device: str = "GPU"
    speed: float = OPERATIONS_PER_SECOND
    """Operations per second of a unit that was not measured."""
    measured: int = 0
    """Units behind the ratios."""
    ratios: Mapping[Class, float] = field(default_factory=dict)
    """Measured over rough seconds by class of unit. Units without operations have classes of
    their own: they say nothing about others."""

    def seconds(self, unit: Unit) -> float:
        """By the closest ratio there is; rough where there is none."""
        rough = _rough(unit, self.speed)
        return rough * next((self.ratios[c] for c in _classes(unit) if c in self.ratios), 1.0)

    def is_rough(self, kind: Kind) -> bool:
        """Whether no unit of that kind with operations was measured on the device."""
        return (kind,) not in self.ratios


ROUGH = Prices()
"""Prices on a GPU before anything is measured."""


def usual_prices(execution: Execution, gpus: bool | None = None) -> Prices:
    """Prices before anything is measured; `gpus`: whether there are any, if that is known.

    Else a sweep that names GPUs has them, and one that does not is priced by this machine.
    """
    lanes = (execution.search, execution.finetune)
    if gpus is None:
        named = any(lane.gpus not in ("auto", 0) for lane in lanes)
        grown = any(growth.gpus for growth in execution.growth)
        gpus = named or grown or _has_gpu()
    # A larger share of a machine is more CPUs; each of a worker's threads has one.
    return ROUGH if gpus else Prices("CPU worker", _cpu_speed() * max(1.0, lanes[0].cpus))


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


@lru_cache
def _cpu_speed() -> float:
    """Operations per second of one thread on this machine, loaded as it is.

    Takes 0.1 s of CPU time, on a busy machine several times as long: a shorter look would see
    either all of a core or none of it.
    """
    import numpy as np

    # Small enough that no library divides it among threads.
    left = np.ones((_SIDE, _SIDE), np.float32)
    out = np.matmul(left, left)
    begin, cpu, products = time.perf_counter(), time.process_time(), 0
    while time.process_time() - cpu < _PROBE:
        for _ in range(10):
            np.matmul(left, left, out=out)
        products += 10
    return 2 * _SIDE**3 * products / (time.perf_counter() - begin)


_SIDE = 64
_PROBE = 0.1
"""Seconds."""


def prices(
    units: Mapping[str, Unit], timings: Mapping[str, Timing], usual: Prices = ROUGH
) -> Prices:
    """Prices as the finished ones among `units` had them, on the device that most of them ran on;
    `usual` before there are any.

    A ratio is the median of its units': one that was cut off and went on counts only its last
    stretch.
    """
    found: dict[str, dict[Class, list[float]]] = {}
    counts: Counter[str] = Counter()
    for unit_id, timing in timings.items():
        unit = units.get(unit_id)
        if unit is None:
            continue
        number, device = _taken_apart(timing.device)
        counts[device] += 1
        ratio = timing.seconds * number / _rough(unit, usual.speed)
        for each in _classes(unit):
            found.setdefault(device, {}).setdefault(each, []).append(ratio)
    if not counts:
        return usual
    device, number = max(counts.items(), key=lambda each: (each[1], each[0]))
    ratios = {each: median(ratios) for each, ratios in found[device].items()}
    if device == usual.device:
        ratios = {**usual.ratios, **ratios}
    return replace(usual, device=device, measured=number, ratios=ratios)


def _taken_apart(device: str) -> tuple[int, str]:
    """`4 x A100` as 4 and A100."""
    number, _, name = device.partition(" x ")
    return (int(number), name) if name and number.isdigit() else (1, device)


def _classes(unit: Unit) -> Iterable[Class]:
    """From the closest to the widest."""
    config = unit.config
    name = config.label if isinstance(config, Search) else ""
    if isinstance(config, FinetuneConfig):
        name = config.task.train.source
    kinds = (unit.kind, name), (unit.kind,), ()
    return kinds if operations(unit) else [("idle", *kind) for kind in kinds]


def gpu_seconds(unit: Unit) -> float:
    """Return estimated seconds on one GPU; good to a factor of a few."""
    return _rough(unit, OPERATIONS_PER_SECOND)


def _rough(unit: Unit, speed: float) -> float:
    return operations(unit) / speed + _START


def operations(unit: Unit) -> float:
    """Return the floating-point operations of a unit, by the sizes of its sources if they are on
    this machine."""
    config, parameters = unit.config, unit.config.model.parameters
    known = weights(config.model.source) or parameters
    if isinstance(config, FinetuneConfig):
        return _finetune_operations(config.task) * known
    found = config.operations * known / parameters
    if isinstance(config, Search) and unit.begin:
        # A shorter search has done these steps already.
        found *= 1 - unit.begin / config.own_steps
    if isinstance(config, PretrainEvalConfig) and config.text.limit is None:
        found *= (tokens(config.text.table.source) or TOKENS) / TOKENS
    return found


def _finetune_operations(task: Task) -> float:
    """Return the operations per weight of a fine-tune with its evaluations."""
    train, validation = _examples(task)
    steps = max(1, train * task.epochs // task.batch_size)
    evaluations = max(1, steps // task.eval_every)
    read = 6 * train * task.epochs + 2 * validation * evaluations * len(task.validation)
    return read * task.tokens


def _examples(task: Task) -> tuple[int, int]:
    ref = parse_source(task.train.source)
    usual = _ROWS.get(ref.config or ref.name.rsplit("/", 1)[-1], _UNKNOWN_ROWS)
    tables = task.train, task.validation[0]
    train, validation = (
        rows(table.source, table.split) or number
        for table, number in zip(tables, usual, strict=True)
    )
    return min(train, task.max_train or train), min(validation, task.max_validation or validation)


def spoken(seconds: float) -> str:
    """A duration in words: seconds, minutes, hours or days."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= (2 if unit == "days" else 1) * size - 0.5:
            number = seconds / size
            text = f"{number:,.0f}" if number >= 10 or unit == "minutes" else f"{number:.1f}"
            return f"{text} {unit.removesuffix('s') if text in ('1', '1.0') else unit}"
    return f"{seconds:.0f} seconds" if round(seconds) != 1 else "1 second"
