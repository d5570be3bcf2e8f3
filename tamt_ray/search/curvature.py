"""The curvature of the distillation loss at θ0, which has no gradient there."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tamt_ray.data.device import autocast, matrix_products, send
from tamt_ray.data.seeds import derive
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Corrupted
from tamt_ray.values.training import Precision


def curvature(
    model: LanguageModel, batches: Iterable[Corrupted], precision: Precision, seed: int
) -> dict[str, Tensor]:
    """Return h, the diagonal of the Hessian of the KD loss (Eq. 6) at θ0, by matrix and but for a
    factor, by one random projection per batch.

    Near its dense value s a state s + d has 1 − cos(s, s + d) = ½ ‖P d‖² / ‖s‖², P the projection
    off s. With v normal, the squared gradient of Σ ⟨v, P s⟩ / ‖s‖ over tokens and layers has the
    mean h. Leaves the model in eval mode, with no gradients asked for.
    """
    model.eval()
    weights = list(model.matrices.values())
    for weight in weights:
        weight.requires_grad_(True)
    drawn = torch.Generator().manual_seed(derive(seed, "curvature"))
    found = {name: torch.zeros_like(weight) for name, weight in model.matrices.items()}
    for batch in batches:
        device = batch.ids.device
        with autocast(precision, device), matrix_products(precision):
            states = model.outputs(
                batch.ids, batch.real, {"states"}, segments=batch.segments
            ).states
            parts = [_projected(state.float(), drawn) for state in states]
            tokens = torch.stack(parts).sum(0)
            total = (tokens if batch.real is None else tokens * batch.real).sum()
            gradients = torch.autograd.grad(total, weights)
        for known, gradient in zip(found.values(), gradients, strict=True):
            known.addcmul_(gradient, gradient)
    for weight in weights:
        weight.requires_grad_(False)
    return found


def _projected(state: Tensor, drawn: torch.Generator) -> Tensor:
    """⟨v, P s⟩ / ‖s‖ of every token; the direction v / ‖s‖ counts as fixed."""
    fixed = state.detach()
    size = fixed.norm(dim=-1, keepdim=True)
    v = send(torch.randn(fixed.shape, generator=drawn), fixed.device)
    v = v - (v * fixed).sum(-1, keepdim=True) / size.square() * fixed
    return (v / size * state).sum(-1)
