"""The price of each unit in seconds: rough at first, corrected by the units that are finished.

The rough price counts the operations of matrix products: a training step costs 6 × weights ×
tokens, a forward pass 2. The operations per second are those of a current data-centre GPU on such
models in 32 bit, or a share of those that this machine's CPU reaches in a short matrix product.
"""

import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil
from pathlib import Path
from statistics import median
from typing import Protocol

from tamt_ray.methods.search import TrainedSearch
from tamt_ray.plan.sizes import Sizes
from tamt_ray.plan.unit import TOKENS, FinetuneConfig, PretrainEvalConfig, Search, Unit
from tamt_ray.spec.execution import Execution
from tamt_ray.tasks.base import Task
from tamt_ray.values.config import Kind
from tamt_ray.values.model import ModelSize
from tamt_ray.values.training import Precision

OPERATIONS_PER_SECOND = 40e12
"""Speed of a current data-centre GPU."""
_START = 1.0
"""Seconds of a unit beside its operations: opening the model and the data."""
UNREAD = Sizes()
"""Sizes before any source was read."""
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
        """Return number and type of the devices, as in `4 x A100`."""
        ...

    @property
    def usage(self) -> Mapping[str, float]:
        """Return the resources of one worker; `cpu_seconds` among them, if they were measured."""
        ...


@dataclass(frozen=True)
class _Spent:
    """The time of one unit over its rough price."""

    wall: float
    cpu: float
    """CPU time; 0 if that is no measure of the work."""


@dataclass(frozen=True)
class Prices:
    """Seconds that units take on one `device`."""

    device: str = "GPU"
    speed: float = OPERATIONS_PER_SECOND
    """Operations per second of a unit that was not measured."""
    gain: float = 1.0
    """Times that bfloat16 is as fast."""
    measured: int = 0
    """Units behind the ratios."""
    ratios: Mapping[Class, float] = field(default_factory=dict)
    """Measured over rough seconds by class of unit. Units without operations have classes of
    their own: they say nothing about others."""
    sizes: Sizes = UNREAD
    """Sizes of models and data that the rough prices are computed from."""

    @property
    def on_cpus(self) -> bool:
        """Whether the device is no GPU."""
        return _is_cpu(self.device)

    def seconds(self, unit: Unit) -> float:
        """Return the estimate, scaled by the closest measured ratio; the rough one without any."""
        rough = self.rough(unit)
        return rough * next((self.ratios[c] for c in _classes(unit) if c in self.ratios), 1.0)

    def rough(self, unit: Unit) -> float:
        """Return the estimate from the operations alone."""
        gain = self.gain if _precision(unit) == "bfloat16" else 1.0
        return operations(unit, self.sizes) / (self.speed * gain) + _START

    def is_rough(self, kind: Kind) -> bool:
        """Return whether the device has no measured unit of that kind with operations."""
        return (kind,) not in self.ratios


ROUGH = Prices()
"""Prices on a GPU before anything is measured."""


def usual_prices(execution: Execution, gpus: bool | None = None, sizes: Sizes = UNREAD) -> Prices:
    """Prices before anything is measured; `gpus`: whether there are any, if that is known.

    Else a sweep that names GPUs has them, and one that does not is priced by this machine.
    """
    lanes = (execution.search, execution.finetune)
    if gpus is None:
        named = any(lane.gpus not in ("auto", 0) for lane in lanes)
        grown = any(growth.gpus for growth in execution.growth)
        gpus = named or grown or _has_gpu()
    if gpus:
        return replace(ROUGH, sizes=sizes)
    # A larger share of a machine is more CPUs; each of a worker's threads has one.
    speed = _OF_A_PRODUCT * _cpu_speed() * max(1.0, lanes[0].cpus)
    return Prices("CPU worker", speed, 2.0 if _multiplies_bfloat16() else 1.0, sizes=sizes)


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


@lru_cache
def _multiplies_bfloat16() -> bool:
    """Return whether this machine's CPU has instructions for products in bfloat16; without
    `/proc`, that is not known."""
    try:
        said = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", said) is not None


@lru_cache
def _cpu_speed() -> float:
    """Operations per second of CPU time of one thread on this machine.

    The wall time would tell how busy the machine is right now, which is when Ray starts.
    """
    import numpy as np

    # Small enough that no library divides it among threads.
    left = np.ones((_SIDE, _SIDE), np.float32)
    out = np.matmul(left, left)
    rates: list[float] = []
    for _ in range(_PROBES):
        begin = time.thread_time()
        for _ in range(_PRODUCTS):
            np.matmul(left, left, out=out)
        rates.append(2 * _SIDE**3 * _PRODUCTS / (time.thread_time() - begin))
    return median(rates)


_SIDE = 64
_PROBES, _PRODUCTS = 10, 1000
_OF_A_PRODUCT = 0.7
"""Share of the probe's operations per second that training reaches."""


def prices(
    units: Mapping[str, Unit], timings: Mapping[str, Timing], usual: Prices = ROUGH
) -> Prices:
    """Prices as the finished ones among `units` had them, on the device that most of them ran on;
    `usual` before there are any. One that was cut off and went on counts only its last stretch.
    """
    found: dict[str, dict[Class, list[_Spent]]] = {}
    counts: Counter[str] = Counter()
    for unit_id, timing in timings.items():
        unit = units.get(unit_id)
        if unit is None:
            continue
        number, device = _taken_apart(timing.device)
        counts[device] += 1
        rough = usual.rough(unit)
        # A GPU's work is no time of a CPU.
        cpu = timing.usage.get("cpu_seconds", 0.0) if _is_cpu(device) else 0.0
        spent = _Spent(device_seconds(timing) / rough, cpu * number / rough)
        for each in _classes(unit):
            found.setdefault(device, {}).setdefault(each, []).append(spent)
    if not counts:
        return usual
    device, number = max(counts.items(), key=lambda each: (each[1], each[0]))
    ratios = {each: _ratio(spent) for each, spent in found[device].items()}
    if device == usual.device:
        ratios = {**usual.ratios, **ratios}
    return replace(usual, device=device, measured=number, ratios=ratios)


def _ratio(spent: Sequence[_Spent]) -> float:
    """Return measured over rough seconds on a device without other work.

    Other work stretches the wall time of a unit on a CPU many times and hardly its CPU time. So the
    median CPU time counts, times the wall seconds of a CPU second in the least disturbed tenth.
    """
    by_cpu = [each for each in spent if each.cpu]
    if not by_cpu:
        return median(each.wall for each in spent)
    stretch = sorted(each.wall / each.cpu for each in by_cpu)[len(by_cpu) // 10]
    return stretch * median(each.cpu for each in by_cpu)


def _is_cpu(device: str) -> bool:
    return "cpu" in device.lower()


def device_seconds(timing: Timing) -> float:
    """Return the seconds that one device would have taken."""
    return timing.seconds * _taken_apart(timing.device)[0]


def _taken_apart(device: str) -> tuple[int, str]:
    """`4 x A100` as 4 and A100."""
    number, _, name = device.partition(" x ")
    return (int(number), name) if name and number.isdigit() else (1, device)


def _classes(unit: Unit) -> Iterable[Class]:
    """Return a unit's classes from the closest to the widest."""
    config = unit.config
    name = config.label if isinstance(config, Search) else ""
    if isinstance(config, FinetuneConfig):
        name = config.task.train.source
    kinds = (unit.kind, name), (unit.kind,), ()
    return kinds if operations(unit) else [("idle", *kind) for kind in kinds]


def _precision(unit: Unit) -> Precision:
    match unit.config:
        case FinetuneConfig(task=task):
            return task.precision
        case PretrainEvalConfig(evaluation=evaluation):
            return evaluation.precision
        case TrainedSearch(training=training):
            return training.precision
        case _:
            return "float32"


def operations(unit: Unit, sizes: Sizes = UNREAD) -> float:
    """Return roughly the floating-point operations of a unit."""
    config = unit.config
    size = sizes.model(config.model)
    match config:
        case FinetuneConfig():
            return _finetune_operations(config.task, size, sizes)
        case PretrainEvalConfig():
            return config.operations(size, sizes.text(config.text.table) or TOKENS)
        case Search() if unit.begin:
            # A shorter search has done these steps already.
            return config.operations(size) * (1 - unit.begin / config.own_steps)
        case _:
            return config.operations(size)


def _finetune_operations(task: Task, size: ModelSize, sizes: Sizes) -> float:
    """Count the training steps and the evaluations."""
    train = sizes.table(task)
    steps = ceil(train.rows / task.batch_size) * task.epochs
    held_out = [sizes.table(task, number) for number in range(len(task.validation))]
    evaluated = sum(each.rows * each.tokens for each in held_out) * ceil(steps / task.eval_every)
    return 3 * size.forward(train.rows * train.tokens * task.epochs) + size.forward(evaluated)


def spoken(seconds: float) -> str:
    """Return a duration in words: seconds, minutes, hours or days."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= (2 if unit == "days" else 1) * size - 0.5:
            number = seconds / size
            text = f"{number:,.0f}" if number >= 10 or unit == "minutes" else f"{number:.1f}"
            return f"{text} {unit.removesuffix('s') if text in ('1', '1.0') else unit}"
    return f"{seconds:.0f} seconds" if round(seconds) != 1 else "1 second"
