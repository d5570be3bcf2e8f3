"""Pinned losses of every method on the toy model.

The numbers come from `search_reference.py` in double precision, not from the code that is tested.
They change with the toy model, the toy corpus and the order in which data are drawn, and with
nothing else: a change that is meant to compute the same leaves them alone.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.blocks import Blocks
from tamt_ray.data.history import History
from tamt_ray.data.seeds import derive
from tamt_ray.masks.mask import Mask
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.imp import train_level
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Stream, corrupt, join
from tamt_ray.search.objective import Terms
from tamt_ray.search.tamt import train_mask
from tamt_ray.search.team import Team

from .search_probes import CLIP, HORIZON, scoring, settings
from .search_reference import Reference, Trace, prune_smallest

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
STEPS = 5
TERMS: dict[str, Terms] = {"tamt_mlm": "mlm", "tamt_kd": "kd", "tamt_mlm_kd": "mlm_kd"}
LR = {"imp": 0.01, "tamt_mlm": 0.0037, "tamt_kd": 0.0037, "tamt_mlm_kd": 0.0037}
CURVES = {
    "imp": [4.573516, 3.710583, 3.375129, 4.671840, 3.665700],
    "tamt_mlm": [4.878557, 4.427767, 4.340405, 3.773054, 4.379341],
    "tamt_kd": [0.169797, 0.146601, 0.158926, 0.354048, 0.355446],
    "tamt_mlm_kd": [5.048355, 4.574368, 4.499329, 4.114288, 4.982805],
}
"""The loss of each training step."""
LOSSES = {
    "full": (4.462392, 0.0),
    "random": (4.852186, 0.703493),
    "omp": (4.607367, 0.152914),
    "imp": (4.715192, 0.277401),
    "tamt_mlm": (4.355233, 0.547725),
    "tamt_kd": (4.383590, 0.292565),
    "tamt_mlm_kd": (4.258613, 0.419752),
}
"""MLM and KD loss of the subnetwork at 50 %, on the validation text."""


def subnetwork(method: str, model: LanguageModel, blocks: Blocks) -> tuple[Mask | None, History]:
    """By the code under test."""
    stream = Stream(blocks, 4, 1, 0.15)
    match method:
        case "full":
            return None, History()
        case "omp":
            return Mask.by_magnitude(model.dense, 0.5), History()
        case "random":
            return Mask.at_random(model.dense, 0.5, 1), History()
        case "imp":
            below = Mask.by_magnitude(model.dense, 0.4)
            return train_level(model, below, 0.5, stream, settings(STEPS, LR[method]), Team())
        case _:
            setting = settings(STEPS, LR[method])
            return train_mask(model, TERMS[method], scoring(0.5), stream, setting, Team())


def by_reference(method: str, reference: Reference, blocks: Blocks) -> Trace:
    """By the reference; the zeros of all three shapes of matrix are whole numbers at 50 %."""
    weights = reference.matrices
    half = {name: weight.numel() // 2 for name, weight in weights.items()}
    drawn = Stream(blocks, 4, 1, 0.15)
    batches = [join(drawn.batch(step)) for step in range(STEPS)]
    omp = {name: prune_smallest(weight.abs(), half[name]) for name, weight in weights.items()}
    match method:
        case "full":
            return Trace(masks=[{n: torch.ones_like(w).bool() for n, w in weights.items()}])
        case "omp":
            return Trace(masks=[omp])
        case "random":
            drawn_mask = Mask.at_random(reference.short(weights), 0.5, 1)
            return Trace(masks=[{n: drawn_mask[n.removeprefix("bert.")] for n in weights}])
        case "imp":
            fewer = {640: 256, 256: 102, 512: 205}  # 256, 102.4, 204.8
            below = {n: prune_smallest(w.abs(), fewer[w.numel()]) for n, w in weights.items()}
            return reference.train_level(
                below, batches, half, lr=LR[method], horizon=HORIZON, clip=CLIP
            )
        case _:
            terms = [f"{term}_loss" for term in TERMS[method].split("_")]
            return reference.train_mask(
                terms, batches, half, lr=LR[method], horizon=HORIZON, clip=CLIP
            )


@pytest.mark.parametrize("method", LOSSES)
def test_losses_are_the_pinned_ones(
    bert: Path, load: LoadModel, train_blocks: LoadBlocks, validation_blocks: LoadBlocks,
    method: str,
) -> None:  # fmt: skip
    mask, history = subnetwork(method, load(bert), train_blocks(bert))
    curve = [point.value for point in history.points if point.name == "loss"]
    assert curve == pytest.approx(CURVES.get(method, []), abs=1e-4)
    found = pretraining_losses(
        load(bert), mask, validation_blocks(bert), probability=0.15, seed=0, batch_size=16,
        device=torch.device("cpu"),
    )  # fmt: skip
    assert (found["mlm_loss"], found["kd_loss"]) == pytest.approx(LOSSES[method], abs=1e-4)


@pytest.mark.parametrize("method", LOSSES)
def test_the_pinned_losses_are_the_references(
    bert: Path, train_blocks: LoadBlocks, validation_blocks: LoadBlocks, method: str
) -> None:
    trace = by_reference(method, Reference(bert), train_blocks(bert))
    curve = [sum(terms.values()) for terms in trace.losses]
    assert curve == pytest.approx(CURVES.get(method, []), abs=1e-6)
    theta, text = Reference(bert), validation_blocks(bert)
    rows = list(range(len(text.ids)))
    seeds = [derive(0, "evaluation", row) for row in rows]
    batch = join(corrupt(text, rows, seeds, 0.15))
    masked = {name: weight * trace.masks[-1][name] for name, weight in theta.matrices.items()}
    theta.model.eval()
    with torch.no_grad():
        losses = theta.losses(masked, batch)
    found = float(losses["mlm_loss"]), float(losses["kd_loss"])
    assert found == pytest.approx(LOSSES[method], abs=1e-6)
