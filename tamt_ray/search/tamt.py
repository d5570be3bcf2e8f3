"""Task-agnostic mask training (Eq. 3–5): scores learned straight-through."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tamt_ray.data.history import History
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.select import keep_largest, zeros_at
from tamt_ray.search.engine import Engine, Progress, Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Stream
from tamt_ray.search.objective import Objective, Terms
from tamt_ray.search.team import Team


@dataclass(frozen=True)
class Scoring:
    """How scores begin and become a mask: S = αφ where the first mask keeps, else 0 (Eq. 5)."""

    sparsity: float
    init: Literal["omp", "random"]
    threshold: float
    scale: float
    ranking: Literal["signed", "magnitude"]


class MaskedWeights:
    """Scores S beside frozen weights W; the model's own tensors hold W ⊙ M at all times."""

    def __init__(self, model: LanguageModel, scoring: Scoring, seed: int) -> None:
        self._weights = model.matrices
        self._dense = model.dense
        self._scoring = scoring
        first = (
            Mask.by_magnitude(model.dense, scoring.sparsity)
            if scoring.init == "omp"
            else Mask.at_random(model.dense, scoring.sparsity, seed)
        )
        self.scores = {
            name: nn.Parameter(keep.to(self._dense[name]) * (scoring.scale * scoring.threshold))
            for name, keep in first.items()
        }
        self.apply()

    def keep(self, name: str) -> Tensor:
        """M of one matrix: exactly the requested number of zeros, whatever the scores."""
        scores = self.scores[name].detach()
        ranked = scores.abs() if self._scoring.ranking == "magnitude" else scores
        return keep_largest(ranked, zeros_at(self._scoring.sparsity, ranked.numel()))

    @torch.no_grad()
    def apply(self) -> None:
        """Write W ⊙ M into the model."""
        for name, weight in self._weights.items():
            torch.mul(self._dense[name], self.keep(name), out=weight.data)

    @torch.no_grad()
    def take_gradients(self) -> None:
        """∂L/∂S = ∂L/∂W_eff ⊙ W, in the memory of ∂L/∂W_eff (Eq. 4)."""
        for name, weight in self._weights.items():
            assert weight.grad is not None, f"{name} got no gradient"
            self.scores[name].grad = weight.grad.mul_(self._dense[name])

    def mask(self) -> Mask:
        """The present subnetwork."""
        return Mask({name: self.keep(name) for name in self.scores})


def train_mask(
    model: LanguageModel,
    terms: Terms,
    scoring: Scoring,
    stream: Stream,
    settings: Settings,
    team: Team,
    progress: Progress | None = None,
) -> tuple[Mask, History]:
    """The mask after `settings.steps` steps, and the loss curves.

    Scores train, and the MLM head where the objective reads it; everything else stays θ0.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for weight in model.matrices.values():
        weight.requires_grad_(True)
    head = list(model.head_parameters().values()) if "mlm" in terms else []
    for parameter in head:
        parameter.requires_grad_(True)
    weights = MaskedWeights(model, scoring, settings.seed)
    parameters = [*weights.scores.values(), *head]
    engine = Engine(Objective(model, terms), parameters, stream, settings, team)
    engine.run(weights.take_gradients, weights.apply, progress)
    return weights.mask(), engine.history
