"""Pinned losses of every method and recipe on the toy model.

The numbers come from `search_reference.py` in double precision, not from the code that is tested.
They change with the toy model, the toy corpus and the order in which data are drawn, and with
nothing else: a change that is meant to compute the same leaves them alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tamt_ray.data.blocks import load_blocks
from tamt_ray.data.history import History
from tamt_ray.data.seeds import derive
from tamt_ray.data.tokens import Blocks, Documents
from tamt_ray.execution.worker.bench import UnitBench
from tamt_ray.masks.mask import Mask
from tamt_ray.methods.base import Grid
from tamt_ray.methods.registry import method_entry
from tamt_ray.methods.tamt import Tamt
from tamt_ray.plan.unit import PAPER_TERMS
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Stream, corrupt, stack
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.values.model import Model
from tamt_ray.values.text import Corpus
from tamt_ray.values.training import Optimizer, Training

from .search_probes import CLIP, HORIZON, settings, train_level
from .search_reference import Reference, Rules, Trace, prune_smallest

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
LoadDocuments = Callable[[Path], Documents]
STEPS = 5
TERMS = {"tamt_mlm": "mlm", "tamt_kd": "kd", "tamt_mlm_kd": "mlm_kd"}
IMP = Optimizer(lr=0.01, clip=CLIP)
TAMT: dict[str, dict[str, object]] = {
    "paper": {"lr": 0.0037, "clip": CLIP},
    # φ after every second step; for distillation after steps 1, 2 and 5.
    "released_code": {"lr": 0.0037, "clip": CLIP, "rerank_every": 2},
    "released_code tamt_kd": {
        "lr": 0.0017,
        "clip": 1e-3,
        "rerank_every": 3,
        "decay_steps": HORIZON,
    },
}
"""Settings of the method beside its recipe, since the toy's steps are few."""
RULES = {
    "paper": Rules(),
    "released_code": Rules(every=2, above=True, early_eps=True),
    "released_code tamt_kd": Rules(
        every=3, early=True, above=True, bert_adam=True, decay=0.01, pads=True
    ),
}
CURVES = {
    "paper imp": [4.573516, 3.710583, 3.375129, 4.671840, 3.665700],
    "paper tamt_mlm": [4.878557, 4.427767, 4.340405, 3.773054, 4.379341],
    "paper tamt_kd": [0.173246, 0.146406, 0.147433, 0.302867, 0.301787],
    "paper tamt_mlm_kd": [5.048355, 4.574368, 4.499329, 4.114288, 4.982805],
    "released_code imp": [3.884017, 3.016270, 3.050022, 3.637523, 3.443827],
    "released_code tamt_mlm": [4.878557, 4.427767, 4.340406, 4.012123, 4.273479],
    "released_code tamt_kd": [0.170579, 0.186082, 0.266872, 0.302539, 0.254669],
    "released_code tamt_mlm_kd": [5.048355, 4.574368, 4.499330, 4.164295, 5.120402],
}
"""The loss of each training step."""
LOSSES = {
    "paper full": (4.462392, 0.0),
    "paper random": (4.852186, 0.723346),
    "paper omp": (4.607367, 0.151238),
    "paper imp": (4.715192, 0.272951),
    "paper tamt_mlm": (4.355233, 0.513473),
    "paper tamt_kd": (4.334946, 0.238364),
    "paper tamt_mlm_kd": (4.258613, 0.380255),
    "released_code imp": (4.217635, 0.192349),
    "released_code tamt_mlm": (4.218181, 0.516404),
    "released_code tamt_kd": (4.396526, 0.192709),
    "released_code tamt_mlm_kd": (4.311668, 0.359466),
}
"""MLM and KD loss of the subnetwork at 50 %, on the validation text."""


def tamt(recipe: str, method: str) -> Tamt:
    """As a sweep file would give it."""
    given = TAMT.get(f"{recipe} {method}", TAMT[recipe])
    entry = {"method": method, "steps": STEPS, **given}
    return Tamt.model_validate(method_entry(entry, recipe))


def subnetwork(
    recipe: str, method: str, source: str, load: Callable[[], LanguageModel], corpus: Corpus
) -> tuple[Mask | None, History]:
    """Return the mask and the curves of the code under test."""
    stream, model = Stream(load_blocks(corpus.training(), source), 4, 1, 0.15), load()
    match method:
        case "full":
            return None, History()
        case "omp":
            return Mask.by_magnitude(model.dense, 0.5), History()
        case "random":
            return Mask.at_random(model.dense, 0.5, 1), History()
        case "imp":
            mask, start = Mask.by_magnitude(model.dense, 0.4), None
            early = recipe == "released_code"
            setting = settings(STEPS, **{**IMP.model_dump(), "early_eps": early})
            if recipe == "released_code":
                mask, _, start = train_level(
                    load(),
                    Mask.by_magnitude(model.dense, 0.3),
                    0.4,
                    stream,
                    setting,
                    ProcessGroup(),
                )
            return train_level(model, mask, 0.5, stream, setting, ProcessGroup(), start=start)[:2]
        case _:
            training = Training(batch_size=4, micro_batch=2, decay_steps=HORIZON, log_every=1)
            grid = Grid("toy", Model(source=source), 1, None, corpus, training, (0.5,), (1,))
            (asked,) = tamt(recipe, method).searches(grid)
            found = asked.search.find(UnitBench(grid.model, ProcessGroup(), no_artifact))
            assert found.history is not None
            return found.mask, found.history


def no_artifact(unit: str, name: str) -> bytes:
    raise AssertionError(f"a mask training without parents asked for {name} of {unit}")


def by_reference(
    recipe: str, method: str, reference: Reference, blocks: Blocks, documents: Documents
) -> Trace:
    """By the reference; the zeros of all three shapes of matrix are whole numbers at 50 %."""
    weights = reference.matrices
    half = {name: weight.numel() // 2 for name, weight in weights.items()}
    drawn = Stream(blocks, 4, 1, 0.15)
    batches = [stack(drawn.batch(step)) for step in range(STEPS)]
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
            fewest = {640: 192, 256: 77, 512: 154}  # 192, 76.8, 153.6
            rates: dict[str, Any] = {"lr": IMP.lr, "decay_steps": HORIZON, "clip": IMP.clip}
            if recipe == "paper":
                below = {n: prune_smallest(w.abs(), fewer[w.numel()]) for n, w in weights.items()}
                return reference.train_level(below, batches, half, **rates)
            rates["early_eps"] = True
            below = {n: prune_smallest(w.abs(), fewest[w.numel()]) for n, w in weights.items()}
            zeros = {name: fewer[weight.numel()] for name, weight in weights.items()}
            level = reference.train_level(below, batches, zeros, **rates)
            return reference.train_level(
                level.masks[0], batches, half, start=level.weights, **rates
            )
        case _:
            terms = [f"{term}_loss" for term in TERMS[method].split("_")]
            rules = RULES.get(f"{recipe} {method}", RULES[recipe])
            if terms == ["kd_loss"]:
                text = documents if rules.pads else blocks
                drawn = Stream(text, 4, 1, 0.0, one_token=rules.pads)
                batches = [stack(drawn.batch(step)) for step in range(STEPS)]
            given = tamt(recipe, method)
            return reference.train_mask(
                terms, batches, half, lr=given.lr, decay_steps=HORIZON, clip=given.clip, rules=rules
            )


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_the_pinned_ones(
    bert: Path, load: LoadModel, corpus: Corpus, validation_blocks: LoadBlocks, name: str
) -> None:
    recipe, method = name.split()
    mask, history = subnetwork(recipe, method, f"dir:{bert}", lambda: load(bert), corpus)
    curve = [point.value for point in history.points if point.name == "loss"]
    assert curve == pytest.approx(CURVES.get(name, []), abs=1e-4)
    found = pretraining_losses(
        load(bert), mask, validation_blocks(bert), PAPER_TERMS, probability=0.15, seed=0,
        batch_size=16, device=torch.device("cpu"),
    )  # fmt: skip
    assert (found["mlm_loss"], found["kd_loss"]) == pytest.approx(LOSSES[name], abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_the_pinned_losses_are_the_references(
    bert: Path, train_blocks: LoadBlocks, train_documents: LoadDocuments,
    validation_blocks: LoadBlocks, name: str,
) -> None:  # fmt: skip
    recipe, method = name.split()
    trace = by_reference(recipe, method, Reference(bert), train_blocks(bert), train_documents(bert))
    curve = [sum(terms.values()) for terms in trace.losses]
    assert curve == pytest.approx(CURVES.get(name, []), abs=1e-6)
    theta, text = Reference(bert), validation_blocks(bert)
    rows = list(range(len(text.ids)))
    seeds = [derive(0, "evaluation", row) for row in rows]
    mask = trace.saved or trace.masks[-1]
    masked = {name: weight * mask[name] for name, weight in theta.matrices.items()}
    theta.model.eval()
    with torch.no_grad():
        corrupted = theta.losses(masked, stack(corrupt(text, rows, seeds, 0.15)))
        clean = theta.losses(masked, stack(corrupt(text, rows, seeds, 0.0)))
    found = float(corrupted["mlm_loss"]), float(clean["kd_loss"])
    assert found == pytest.approx(LOSSES[name], abs=1e-6)
