"""One level of iterative magnitude pruning, rewound or trained on."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tamt_ray.masks.mask import Mask, clear_pruned
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.state import Stateful
from tamt_ray.values.pattern import UNSTRUCTURED


def prune_trained(
    model: LanguageModel, below: Mask, sparsity: float, pattern: str = UNSTRUCTURED
) -> Mask:
    """Return the mask at `sparsity`: the smallest trained weights that `below` still keeps go too.

    The pooler's matrix, which nothing trains, is ranked by θ0.
    """
    trained = {**model.dense, **model.matrices}
    if model.embedding in trained:
        trained[model.embedding] = model.decoder.weight
    return Mask.by_score(
        {
            # Pruned weights rank below every magnitude.
            name: torch.where(below[name], weight.detach().abs().cpu(), -1.0)
            for name, weight in trained.items()
        },
        sparsity,
        pattern=pattern,
    )


class Subnetwork(Stateful):
    """θ ⊙ M under training; its embedding E is dense in the decoder and E ⊙ M in the input.

    All weights train, from θ0 or from `start`, the trained weights of the level below. The
    embedding is tied to the decoder: the trained matrix stays dense there and the input sees it
    through the mask. Rewinding is what a level starts from: the model given here is θ0, so without
    `start` nothing has to be put back, and all that a level takes over is its mask.
    """

    def __init__(
        self, model: LanguageModel, mask: Mask, start: Mapping[str, Tensor] | None = None
    ) -> None:
        """Raises ValueError for the `start` of another model."""
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        self._model = model
        # The decoder shares its memory with the frozen θ0; training needs a matrix of its own.
        model.decoder.weight = nn.Parameter(model.decoder.weight.detach().clone())
        self._dense = model.decoder.weight
        self._masked = model.body.get_parameter(model.embedding)
        self._keep = {name: mask[name].to(self._masked.device) for name in model.matrices}
        self._seen = self._keep.get(
            model.embedding, torch.ones_like(self._masked, dtype=torch.bool)
        )
        if start is not None:
            self._load(start)
        model.prune(mask)
        with torch.no_grad():
            self._follow()

    def parameters(self) -> list[nn.Parameter]:
        """Return all weights, the tied embedding once."""
        return list(self._named().values())

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights on the CPU, each once."""
        return {name: weight.detach().cpu() for name, weight in self._named().items()}

    def _named(self) -> dict[str, nn.Parameter]:
        return {
            name: weight
            for name, weight in self._model.named_parameters()
            if weight is not self._masked
        }

    @torch.no_grad()
    def _load(self, weights: Mapping[str, Tensor]) -> None:
        """Replace all weights but the input embedding."""
        ours = self._named()
        if ours.keys() != weights.keys():
            odd = min(ours.keys() ^ weights.keys())
            raise ValueError(f"the weights of the level below are another model's: {odd}")
        for name, weight in ours.items():
            weight.copy_(weights[name])

    @torch.no_grad()
    def before_step(self) -> None:
        """Keep pruned weights where they are; add the input embedding's share to E's gradient."""
        gradients: list[Tensor] = []
        for name, weight in self._model.matrices.items():
            assert weight.grad is not None, f"{name} got no gradient"
            gradients.append(weight.grad)
        clear_pruned(gradients, [self._keep[name] for name in self._model.matrices])
        assert self._dense.grad is not None
        assert self._masked.grad is not None
        self._dense.grad.add_(self._masked.grad)

    @torch.no_grad()
    def after_step(self) -> None:
        """Let the input see the new E."""
        self._follow()

    def _follow(self) -> None:
        torch.mul(self._dense, self._seen, out=self._masked.data)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Let the input see a restored E."""
        assert not state
        self.after_step()
