"""Run a search on a given stream, look into it while it runs, run it in double precision."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from tamt_ray.data.history import History
from tamt_ray.masks.mask import Mask
from tamt_ray.objectives.base import Objective, needs_head
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search import tamt
from tamt_ray.search.engine import Settings, train
from tamt_ray.search.imp import Subnetwork, prune_trained
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Corrupted, Stream
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.state import Checkpointer
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.values.base import OnProgress
from tamt_ray.values.training import Optimizer, Scoring, Training

HORIZON, CLIP = 20, 0.5


def terms_of(names: str, **kd: bool) -> tuple[Objective, ...]:
    """Return the loss terms of `mlm`, `kd` or `mlm_kd`; `kd` has the settings of distillation."""
    return tuple(Mlm() if name == "mlm" else Kd(**kd) for name in names.split("_"))


def masked_weights(
    model: LanguageModel, terms: Sequence[Objective], sparsity: float, scoring: Scoring, seed: int
) -> MaskedWeights:
    """Return the scores before the first step, beside the head where a term reads it."""
    return tamt.MaskedWeights(model, sparsity, scoring, seed, head=needs_head(terms))


def train_mask(
    model: LanguageModel,
    terms: Sequence[Objective],
    sparsity: float,
    scoring: Scoring,
    stream: Stream,
    settings: Settings,
    group: ProcessGroup,
    progress: OnProgress | None = None,
    *,
    checkpointer: Checkpointer | None = None,
) -> tuple[Mask, History]:
    """Return the mask after `settings.steps` steps, and the loss curves."""
    weights = masked_weights(model, terms, sparsity, scoring, settings.seed)
    history = train(
        model, terms, weights, stream, settings, group, progress, checkpointer=checkpointer
    )
    return weights.mask(), history


def train_level(
    model: LanguageModel,
    below: Mask,
    sparsity: float,
    stream: Stream,
    settings: Settings,
    group: ProcessGroup,
    *,
    start: Mapping[str, Tensor] | None = None,
    checkpointer: Checkpointer | None = None,
) -> tuple[Mask, History, dict[str, Tensor]]:
    """Return the mask of one level of IMP, the loss curves and the trained weights."""
    subnetwork = Subnetwork(model, below, start)
    history = train(model, [Mlm()], subnetwork, stream, settings, group, checkpointer=checkpointer)
    return prune_trained(model, below, sparsity), history, subnetwork.weights()


def settings(steps: int, lr: float, seed: int = 1, **changes: object) -> Settings:
    """Four blocks a step in two micro-batches; every step logged."""
    training = {"batch_size": 4, "micro_batch": 2, "decay_steps": HORIZON, "log_every": 1}
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


def states(model: LanguageModel, ids: Tensor, attended: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return the outputs of the layers."""
    return model.outputs(ids, attended, {"states"}).states


def teacher_states(
    model: LanguageModel, ids: Tensor, attended: Tensor | None = None, *, dropout: bool = False
) -> tuple[Tensor, ...]:
    """Return the outputs of the dense model's layers."""
    return model.teacher_outputs(ids, attended, {"states"}, dropout=dropout).states


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
    """The state of a mask search after its start and after every step."""

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
