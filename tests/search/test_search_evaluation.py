"""The pre-training losses of a subnetwork by transformers' own loss."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tamt_ray.data.history import NonFiniteLossError
from tamt_ray.data.tokens import Blocks
from tamt_ray.masks.mask import Mask
from tamt_ray.objectives.kd import Kd
from tamt_ray.plan.unit import PAPER_TERMS
from tamt_ray.search import evaluate
from tamt_ray.search.evaluate import pretraining_losses
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.mlm_corruption import Corrupted, stack
from tamt_ray.values.training import Precision

from .search_reference import Reference

LoadModel = Callable[[Path], LanguageModel]
LoadBlocks = Callable[[Path], Blocks]
Drawn = defaultdict[float, list[Corrupted]]
"""Blocks that an evaluation read, in order, by the share of tokens that are predicted."""


def measure(
    model: LanguageModel,
    mask: Mask | None,
    blocks: Blocks,
    batch_size: int = 8,
    seed: int = 0,
    precision: Precision = "float32",
) -> dict[str, float]:
    return pretraining_losses(
        model, mask, blocks, PAPER_TERMS, probability=0.15, seed=seed, batch_size=batch_size,
        device=torch.device("cpu"), precision=precision,
    )  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The blocks that the evaluation read."""
    found: Drawn = defaultdict(list)
    genuine = evaluate.corrupt

    def watched(text: Blocks, rows: list[int], seeds: list[int], share: float) -> list[Corrupted]:
        batch = genuine(text, rows, seeds, share)
        found[share].extend(batch)
        return batch

    monkeypatch.setattr(evaluate, "corrupt", watched)
    return found


@pytest.mark.parametrize("sparsity", [None, 0.5, 0.9])
def test_mlm_is_transformers_own_on_the_same_corrupted_text_and_distillation_reads_clean_text(
    encoder: Path, load: LoadModel, validation_blocks: LoadBlocks, drawn: Drawn,
    sparsity: float | None,
) -> None:  # fmt: skip
    model = load(encoder)
    mask = None if sparsity is None else Mask.by_magnitude(model.dense, sparsity)
    found = measure(model, mask, validation_blocks(encoder))
    reference = Reference(encoder)
    reference.model.eval()
    # Masked in the input only: `replaced` leaves the decoder with the dense embedding.
    replaced = {
        name: weight * mask[name.removeprefix(reference.prefix)] if mask else weight
        for name, weight in reference.matrices.items()
    }
    assert len(drawn[0.15]) == len(validation_blocks(encoder).ids) > 20
    everything = stack(drawn[0.15])
    with torch.no_grad():
        expected = {name: float(v) for name, v in reference.losses(replaced, everything).items()}
        whole = {**replaced, reference.decoder: replaced[reference.embedding]}
        masked_decoder = float(reference.losses(whole, everything)["mlm_loss"])
    assert found["mlm_loss"] == pytest.approx(expected["mlm_loss"], rel=1e-5)
    assert found["predicted_tokens"] == len(everything.labels)
    if mask:
        assert abs(found["mlm_loss"] - masked_decoder) > 1e-2
        clean = stack(drawn[0.0])
        assert torch.equal(clean.ids, validation_blocks(encoder).ids.long())
        with torch.no_grad():
            distance = float(reference.losses(replaced, clean)["kd_loss"])
        assert found["kd_loss"] == pytest.approx(distance, rel=1e-5)
        assert abs(found["kd_loss"] - expected["kd_loss"]) > 1e-4
    else:
        assert found["kd_loss"] == 0.0
        assert not drawn[0.0], "the dense model was compared with itself"


def test_the_batch_size_changes_nothing(
    noisy: Path, load: LoadModel, validation_blocks: LoadBlocks
) -> None:
    found = []
    for batch_size in (1, 3, 1000):
        model = load(noisy)
        mask = Mask.by_magnitude(model.dense, 0.5)
        found.append(measure(model, mask, validation_blocks(noisy), batch_size))
    for other in found[1:]:
        assert other["mlm_loss"] == pytest.approx(found[0]["mlm_loss"], rel=1e-6)
        assert other["kd_loss"] == pytest.approx(found[0]["kd_loss"], rel=1e-6)
        assert other["predicted_tokens"] == found[0]["predicted_tokens"]


def test_precision_changes_losses_by_rounding_only(
    noisy: Path, load: LoadModel, validation_blocks: LoadBlocks
) -> None:
    """TF32 exists on GPUs only: on a CPU its losses are those of float32 to the bit."""
    found = {}
    for precision in ("float32", "tf32", "bfloat16"):
        model = load(noisy)
        mask = Mask.by_magnitude(model.dense, 0.5)
        found[precision] = measure(model, mask, validation_blocks(noisy), precision=precision)
    assert found["tf32"] == found["float32"]
    assert found["bfloat16"] != found["float32"]
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.02)


def test_every_subnetwork_predicts_the_same_tokens(
    bert: Path, load: LoadModel, validation_blocks: LoadBlocks, drawn: Drawn
) -> None:
    dense = load(bert).dense
    masks = [None, Mask.by_magnitude(dense, 0.5), Mask.at_random(dense, 0.9, 1)]
    seen: list[Corrupted] = []
    for number, mask in enumerate(masks):
        drawn.clear()
        torch.manual_seed(number)
        measure(load(bert), mask, validation_blocks(bert), batch_size=number + 2)
        seen.append(stack(drawn[0.15]))
    for other in seen[1:]:
        assert torch.equal(other.ids, seen[0].ids)
        assert torch.equal(other.chosen, seen[0].chosen)
    drawn.clear()
    measure(load(bert), None, validation_blocks(bert), seed=1)
    assert not torch.equal(stack(drawn[0.15]).chosen, seen[0].chosen)


def test_the_dense_model_is_at_no_distance_from_itself(
    noisy: Path, load: LoadModel, validation_blocks: LoadBlocks
) -> None:
    assert measure(load(noisy), None, validation_blocks(noisy))["kd_loss"] == 0.0
    # A mask that removes nothing is the dense model, measured.
    model = load(noisy)
    everything = measure(model, Mask.by_magnitude(model.dense, 0.0), validation_blocks(noisy))
    assert everything["kd_loss"] == pytest.approx(0, abs=1e-6)
    dense = measure(load(noisy), None, validation_blocks(noisy))
    assert everything["mlm_loss"] == dense["mlm_loss"]


def test_a_loss_that_is_not_a_number_is_an_error(
    bert: Path, load: LoadModel, validation_blocks: LoadBlocks
) -> None:
    model = load(bert)
    next(iter(model.head_parameters().values())).data[0] = float("nan")
    with pytest.raises(NonFiniteLossError):
        measure(model, None, validation_blocks(bert))


def test_terms_that_predict_nothing_need_no_corrupted_text(
    bert: Path, load: LoadModel, validation_blocks: LoadBlocks, drawn: Drawn
) -> None:
    model = load(bert)
    mask, text = Mask.by_magnitude(model.dense, 0.5), validation_blocks(bert)
    both = measure(load(bert), mask, text)
    drawn.clear()
    alone = pretraining_losses(
        model, mask, text, [Kd()], probability=0.15, seed=0, batch_size=8,
        device=torch.device("cpu"),
    )  # fmt: skip
    assert set(drawn) == {0.0}
    assert alone == {"kd_loss": both["kd_loss"], "predicted_tokens": 0.0}
