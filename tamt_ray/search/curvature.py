"""Squared gradients, and the curvature of the distillation loss at θ0, which has no gradient."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from tamt_ray.data.device import autocast, matrix_products, send
from tamt_ray.data.seeds import derive
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Corrupted
from tamt_ray.values.training import Precision


def squared_gradients(
    model: LanguageModel, values: Iterable[Tensor], scale: float = 1.0
) -> dict[str, Tensor]:
    """Return the sum over `values` of `scale` times the squared gradient of each, by matrix.

    The values are computed one by one, with gradients asked for and the model in eval mode, where
    it stays.
    """
    model.eval()
    weights = list(model.matrices.values())
    for weight in weights:
        weight.requires_grad_(True)
    found = {name: torch.zeros_like(weight) for name, weight in model.matrices.items()}
    for value in values:
        gradients = torch.autograd.grad(value, weights)
        for known, gradient in zip(found.values(), gradients, strict=True):
            known.addcmul_(gradient, gradient, value=scale)
    for weight in weights:
        weight.requires_grad_(False)
    return found


def curvature(
    model: LanguageModel,
    batches: Iterable[Corrupted],
    precision: Precision,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Tensor]:
    """Return h, the diagonal of the Hessian of the KD loss (Eq. 6) at θ0, by matrix and but for a
    factor, by one random projection per batch; `progress` takes the batches done.

    Near its dense value s a state s + d has 1 − cos(s, s + d) = ½ ‖P d‖² / ‖s‖², P the projection
    off s. With v normal, the squared gradient of Σ ⟨v, P s⟩ / ‖s‖ over tokens and layers has the
    mean h.
    """
    drawn = torch.Generator().manual_seed(derive(seed, "curvature"))

    def values() -> Iterator[Tensor]:
        for number, batch in enumerate(batches, start=1):
            with autocast(precision, batch.ids.device):
                reads = model.outputs(batch.ids, batch.real, {"states"}, segments=batch.segments)
            tokens = torch.stack([_projected(each.float(), drawn) for each in reads.states]).sum(0)
            yield (tokens if batch.real is None else tokens * batch.real).sum()
            progress(number)

    with matrix_products(precision):
        return squared_gradients(model, values())


def _projected(state: Tensor, drawn: torch.Generator) -> Tensor:
    """⟨v, P s⟩ / ‖s‖ of every token; the direction v / ‖s‖ counts as fixed."""
    fixed = state.detach()
    size = fixed.norm(dim=-1, keepdim=True)
    v = send(torch.randn(fixed.shape, generator=drawn), fixed.device)
    v = v - (v * fixed).sum(-1, keepdim=True) / size.square() * fixed
    return (v / size * state).sum(-1)
