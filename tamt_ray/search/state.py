"""Where a training stands: enough to go on bit for bit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from safetensors.torch import load, save
from torch import Tensor

from tamt_ray.data.history import Point


@dataclass(frozen=True)
class TrainingState:
    """A training after `step` steps. Randomness is a counter, so nothing else is needed.

    `tensors`: values and moments of everything that trains, on the CPU. `seconds`: training time so
    far. `points`: the curves so far.
    """

    step: int
    seconds: float
    tensors: Mapping[str, Tensor]
    points: tuple[Point, ...] = ()

    def to_bytes(self) -> bytes:
        """As safetensors."""
        told = {
            "step": self.step,
            "seconds": self.seconds,
            "points": [[p.step, p.name, p.value, p.time] for p in self.points],
        }
        return save(dict(self.tensors), {"state": json.dumps(told)})


def state_from_bytes(data: bytes) -> TrainingState:
    """The state written by `to_bytes`; the caller vouches for the bytes."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    told = json.loads(header["__metadata__"]["state"])
    points = tuple(Point(*point) for point in told["points"])
    return TrainingState(told["step"], told["seconds"], load(data), points)


class Keeper(Protocol):
    """Where states go while a search runs, and where one that was cut off finds its own."""

    def newest(self) -> str | None:
        """Name of the newest sound state at or before the last step asked for, if any."""
        ...

    def read(self, name: str) -> TrainingState:
        """The state of that name."""
        ...

    def due(self, *, last: bool) -> bool:
        """Whether a state should be kept now, after the last step or an earlier one."""
        ...

    def keep(self, state: TrainingState) -> None:
        """Keep a state durably."""
        ...
