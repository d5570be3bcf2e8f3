"""The pre-training evaluation of a subnetwork."""

import torch

from tamt_ray.data.blocks import Blocks
from tamt_ray.data.history import check_finite
from tamt_ray.data.seeds import derive
from tamt_ray.masks.mask import Mask
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import corrupt, join
from tamt_ray.search.objective import kd_sum, mlm_sum


@torch.no_grad()
def pretraining_losses(
    model: LanguageModel,
    mask: Mask | None,
    blocks: Blocks,
    *,
    probability: float,
    seed: int,
    batch_size: int,
    device: torch.device,
) -> dict[str, float]:
    """`mlm_loss` (nats a predicted token) and `kd_loss` (Eq. 6) of θ0 ⊙ mask in eval mode.

    Every block's corruption is drawn from (seed, block), so all subnetworks predict the same
    tokens and the batch size changes nothing but rounding. `model` is left masked.

    Raises ValueError for blocks too few to choose a token from.
    """
    if mask is not None:
        model.prune(mask)
    model.eval()
    totals = {"mlm": 0.0, "kd": 0.0}
    chosen = tokens = 0
    for start in range(0, len(blocks.ids), batch_size):
        rows = list(range(start, min(start + batch_size, len(blocks.ids))))
        seeds = [derive(seed, "evaluation", row) for row in rows]
        batch = join(corrupt(blocks, rows, seeds, probability)).to(device)
        student = model.hidden_states(batch.ids)
        totals["mlm"] += float(mlm_sum(model, student[-1], batch))
        if mask is not None:
            totals["kd"] += float(kd_sum(model.teacher_states(batch.ids), student))
        chosen += len(batch.labels)
        tokens += batch.ids.numel()
    if not chosen:
        raise ValueError("no validation token was chosen; evaluate on more or longer blocks")
    return {
        "mlm_loss": check_finite(totals["mlm"] / chosen, 0),
        "kd_loss": check_finite(totals["kd"] / tokens, 0),
        "predicted_tokens": float(chosen),
    }
