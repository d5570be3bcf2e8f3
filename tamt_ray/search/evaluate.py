"""The pre-training evaluation of a subnetwork."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from tamt_ray.data.device import autocast, matrix_products
from tamt_ray.data.history import check_finite
from tamt_ray.data.seeds import derive
from tamt_ray.data.tokens import Tokens
from tamt_ray.masks.mask import Mask
from tamt_ray.objectives.base import Objective, apart
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import ForwardPass, reads_of
from tamt_ray.search.mlm_corruption import corrupt, stack
from tamt_ray.values.training import Precision


@torch.no_grad()
def pretraining_losses(
    model: LanguageModel,
    mask: Mask | None,
    text: Tokens,
    terms: Sequence[Objective],
    *,
    probability: float,
    seed: int,
    batch_size: int,
    device: torch.device,
    precision: Precision = "float32",
) -> dict[str, float]:
    """Return the loss of θ0 ⊙ mask in eval mode for each term, by the name of its curve.

    Each is a mean over what the term counts: `mlm_loss` over predicted tokens, in nats; `kd_loss`
    over tokens (Eq. 6). Terms that predict tokens read corrupted text, all others clean text.
    Terms that compare with the dense model are 0 for it, where `mask` is None.
    Every sequence's corruption is drawn from (seed, sequence), so all subnetworks predict the same
    tokens and the batch size changes nothing but rounding. `model` is left masked.

    Raises ValueError for a text too short to choose a token from, where one is to be predicted, or
    of another vocabulary.
    """
    model.check_reads(text.special)
    model.prepare(reads_of(terms))
    if mask is not None:
        model.prune(mask)
    model.eval()
    found = {term.curve: 0.0 for term in terms}
    chosen = 0
    for some, share in zip(apart(terms), (probability, 0.0), strict=True):
        measured = [term for term in some if mask is not None or not term.distils]
        if not measured:
            continue
        counts, reads = [0] * len(measured), reads_of(measured)
        sums: list[Tensor] = []
        """Per batch, on the device; read once, so that a GPU does not wait between batches."""
        for start in range(0, len(text), batch_size):
            rows = list(range(start, min(start + batch_size, len(text))))
            seeds = [derive(seed, "evaluation", row) for row in rows]
            whole = stack(corrupt(text, rows, seeds, share))
            chosen += len(whole.labels)
            with autocast(precision, device), matrix_products(precision):
                step = ForwardPass(model, whole.to(device), reads)
                sums.append(torch.stack([step.loss(term).double() for term in measured]))
            for number, term in enumerate(measured):
                counts[number] += term.count(whole)
        if share and not chosen:
            raise ValueError("no validation token was chosen; evaluate on more or longer blocks")
        totals = reduce(torch.add, sums).tolist()
        for term, total, count in zip(measured, totals, counts, strict=True):
            found[term.curve] = check_finite(total / max(count, 1), 0)
    return {**found, "predicted_tokens": float(chosen)}
