"""Looking into a search while it runs, and running it in double precision."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from tamt_ray.search.engine import Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Corrupted, Stream
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.optimizer import Optimizer
from tamt_ray.values.training import Training

HORIZON, CLIP = 20, 0.5


def settings(steps: int, lr: float, seed: int = 1, **changes: object) -> Settings:
    """Four blocks a step in two micro-batches; every step logged."""
    training = {"batch_size": 4, "micro_batch": 2, "horizon": HORIZON, "log_every": 1}
    optimizer = {"lr": lr, "clip": CLIP}
    for name, value in changes.items():
        (optimizer if name in Optimizer.model_fields else training)[name] = value
    return Settings(
        Training.model_validate(training), Optimizer.model_validate(optimizer), steps, seed
    )


def doubled(model: LanguageModel) -> LanguageModel:
    """The same model in double precision, where summation order cannot flip a mask bit."""
    model.double()
    model.dense = {name: weight.double() for name, weight in model.dense.items()}
    return model


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@dataclass(frozen=True)
class Watching(Stream):
    """A stream that lets one look before each step, when `step` steps are done."""

    look: Callable[[int], None] = field(default=lambda step: None)

    def batch(self, step: int) -> list[Corrupted]:
        self.look(step)
        return super().batch(step)


@dataclass
class Seen:
    """What a mask search had after its start and after every step."""

    scores: list[dict[str, Tensor]] = field(default_factory=list)
    effective: list[dict[str, Tensor]] = field(default_factory=list)


def record(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Has the next mask search keep its scores and the model's matrices."""
    seen = Seen()

    class Recorded(MaskedWeights):
        def _write(self) -> None:
            super()._write()
            seen.scores.append({n: s.detach().clone() for n, s in self.scores.items()})
            seen.effective.append({n: w.detach().clone() for n, w in self._weights.items()})

    monkeypatch.setattr("tamt_ray.search.tamt.MaskedWeights", Recorded)
    return seen


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)
