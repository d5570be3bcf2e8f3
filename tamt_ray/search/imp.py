"""One level of iterative magnitude pruning with true rewinding (PAPER §2)."""

import torch
from torch import nn

from tamt_ray.data.history import History
from tamt_ray.masks.mask import Mask, zero_pruned
from tamt_ray.search.engine import Engine, Progress, Settings
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Stream
from tamt_ray.search.objective import Objective
from tamt_ray.search.team import Team


def prune_trained(model: LanguageModel, below: Mask, sparsity: float) -> Mask:
    """The mask at `sparsity`: the smallest trained weights that `below` still keeps go too."""
    trained = {
        name: model.decoder.weight if name == model.embedding else weight
        for name, weight in model.matrices.items()
    }
    return Mask.by_score(
        {
            # What is already pruned ranks below every magnitude.
            name: torch.where(below[name], weight.detach().abs().cpu(), -1.0)
            for name, weight in trained.items()
        },
        sparsity,
    )


def train_level(
    model: LanguageModel,
    below: Mask,
    sparsity: float,
    stream: Stream,
    settings: Settings,
    team: Team,
    progress: Progress | None = None,
) -> tuple[Mask, History]:
    """Train θ0 under `below` with the MLM loss, then prune to `sparsity`.

    All weights train. The embedding is tied to the decoder: the trained matrix stays dense there
    and the input sees it through the mask. Rewinding is what every level starts from: the model
    given here is θ0, so nothing has to be put back.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    zero_pruned(model.matrices, below)
    subnetwork = _Subnetwork(model, below)
    engine = Engine(Objective(model, "mlm"), subnetwork.parameters(), stream, settings, team)
    engine.run(subnetwork.mask_gradients, subnetwork.apply, progress)
    return prune_trained(model, below, sparsity), engine.history


class _Subnetwork:
    """θ ⊙ M under training; its embedding E is dense in the decoder and E ⊙ M in the input."""

    def __init__(self, model: LanguageModel, mask: Mask) -> None:
        self._model = model
        # The decoder shares its memory with the frozen θ0; training needs a matrix of its own.
        model.decoder.weight = nn.Parameter(model.decoder.weight.detach().clone())
        self._dense = model.decoder.weight
        self._masked = model.matrices[model.embedding]
        self._keep = {name: keep.to(self._masked.device) for name, keep in mask.items()}

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser moves: all weights, the tied embedding once."""
        return [weight for weight in self._model.parameters() if weight is not self._masked]

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Keep pruned weights where they are; add the input embedding's share to E's gradient."""
        for name, weight in self._model.matrices.items():
            assert weight.grad is not None, f"{name} got no gradient"
            weight.grad.mul_(self._keep[name])
        assert self._dense.grad is not None
        assert self._masked.grad is not None
        self._dense.grad.add_(self._masked.grad)

    @torch.no_grad()
    def apply(self) -> None:
        """Let the input see the new E."""
        torch.mul(self._dense, self._keep[self._model.embedding], out=self._masked.data)
