"""Training states: enough to resume bit for bit."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from safetensors.torch import load, save
from torch import Tensor, nn

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
        """Return the state as safetensors."""
        fields = {
            "step": self.step,
            "seconds": self.seconds,
            "points": [[p.step, p.name, p.value, p.time] for p in self.points],
        }
        return save(dict(self.tensors), {"state": json.dumps(fields)})


def state_from_bytes(data: bytes) -> TrainingState:
    """Return the state written by `to_bytes`; the caller vouches for the bytes."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    fields = json.loads(header["__metadata__"]["state"])
    points = tuple(Point(*point) for point in fields["points"])
    return TrainingState(fields["step"], fields["seconds"], load(data), points)


class Stateful(Protocol):
    """The trained part of a search: its parameters, and the work around each optimiser step."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the tensors that the optimiser moves, always in the same order."""
        ...

    def before_step(self) -> None:
        """Turn the fresh gradients of the model's weights into those of `parameters`."""

    def after_step(self) -> None:
        """Let the model's weights follow the new values of `parameters`."""

    def figures(self) -> dict[str, float]:
        """Further numbers for the logged curves."""
        return {}

    def state(self) -> Mapping[str, Tensor]:
        """Tensors beside `parameters` that the training depends on, by names that never change."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state, with the parameters of that step already in place."""
        assert not state


class Checkpointer(Protocol):
    """Saves the states of a running search and finds those of an interrupted one."""

    def newest(self) -> str | None:
        """Return the name of the newest sound state up to the last step asked for, if any."""
        ...

    def read(self, name: str) -> TrainingState:
        """Return the state of that name."""
        ...

    def due(self, *, last: bool) -> bool:
        """Return whether to save a state now, after the last step or an earlier one; asked after
        each check of the workers' values."""
        ...

    def keep(self, state: TrainingState) -> None:
        """Keep a state durably."""
        ...
