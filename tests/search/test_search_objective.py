"""The distillation and the masked-language-model loss by hand, and the teacher."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM

from tamt_ray.masks.mask import Mask, zero_pruned
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Corrupted
from tamt_ray.search.objective import Objective, kd_sum, mlm_sum

LoadModel = Callable[[Path], LanguageModel]
IDS = torch.tensor([[2, 5, 6, 4, 8, 3], [2, 9, 4, 11, 12, 3]])
CHOSEN = torch.zeros_like(IDS, dtype=torch.bool).index_put(
    (torch.tensor([0, 1, 1]), torch.tensor([3, 2, 4])), torch.tensor(True)
)
BATCH = Corrupted(IDS, CHOSEN, torch.tensor([7, 10, 12]))


def test_distillation_by_hand() -> None:
    # One sequence of two tokens, two layers; lengths must not matter.
    teacher = (
        torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]),
        torch.tensor([[[3.0, 4.0], [1.0, 1.0]]]),
    )
    student = (
        torch.tensor([[[5.0, 0.0], [1.0, 1.0]]]),  # cos 1, 1/√2
        torch.tensor([[[4.0, 3.0], [-2.0, -2.0]]]),  # cos 24/25, −1
    )
    by_hand = (0 + (1 - 1 / math.sqrt(2)) + (1 - 24 / 25) + 2) / 2
    assert float(kd_sum(teacher, student)) == pytest.approx(by_hand, abs=1e-6)


def test_layers_of_teacher_and_student_must_be_as_many() -> None:
    states = (torch.ones(1, 1, 2), torch.ones(1, 1, 2))
    with pytest.raises(ValueError, match="zip"):
        kd_sum(states, states[:1])


def test_mlm_by_hand() -> None:
    class Head(nn.Module):
        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    hidden = torch.zeros(1, 4, 3)
    hidden[0, 1] = torch.tensor([0.0, math.log(2), 0.0])  # 1/4, 1/2, 1/4
    hidden[0, 2] = torch.tensor([100.0, 0.0, 0.0])  # not chosen
    batch = Corrupted(
        torch.zeros(1, 4, dtype=torch.long),
        torch.tensor([[False, True, False, True]]),
        torch.tensor([1, 2]),
    )
    loss = mlm_sum(Head(), hidden, batch)  # pyright: ignore[reportArgumentType]
    assert float(loss) == pytest.approx(math.log(2) + math.log(3), abs=1e-6)


def test_hidden_states_are_the_layers_outputs_without_the_embeddings(
    encoder: Path, load: LoadModel
) -> None:
    model = load(encoder).eval()
    published = AutoModelForMaskedLM.from_pretrained(encoder)
    expected = published(input_ids=IDS, output_hidden_states=True).hidden_states
    assert len(expected) == 3
    for states in (model.hidden_states(IDS), model.teacher_states(IDS)):
        assert len(states) == 2
        for mine, theirs in zip(states, expected[1:], strict=True):
            torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(model.last_hidden(IDS), expected[-1])


@torch.no_grad()
def test_each_term_is_the_mean_over_the_tokens_of_the_global_batch(
    bert: Path, load: LoadModel
) -> None:
    model = load(bert).eval()
    zero_pruned(model.matrices, Mask.by_magnitude(model.dense, 0.5))
    loss, terms = Objective(model, "mlm_kd")(BATCH, 6, 24)
    # A micro-batch that is half the batch has half the weight.
    kd = float(kd_sum(model.teacher_states(IDS), model.hidden_states(IDS)))
    mlm = float(mlm_sum(model, model.last_hidden(IDS), BATCH))
    assert float(terms["kd_loss"]) == pytest.approx(kd / 24, rel=1e-6)
    assert float(terms["mlm_loss"]) == pytest.approx(mlm / 6, rel=1e-6)
    assert float(loss) == pytest.approx(kd / 24 + mlm / 6, rel=1e-6)
    assert set(Objective(model, "kd")(BATCH, 6, 24)[1]) == {"kd_loss"}
    assert set(Objective(model, "mlm")(BATCH, 6, 24)[1]) == {"mlm_loss"}


def test_a_batch_in_which_nothing_is_chosen_costs_nothing(bert: Path, load: LoadModel) -> None:
    empty = Corrupted(IDS, torch.zeros_like(CHOSEN), torch.empty(0, dtype=torch.long))
    loss, _ = Objective(load(bert), "mlm")(empty, 0, IDS.numel())
    assert loss.item() == 0.0
    loss.backward()


@torch.no_grad()
def test_the_unmasked_model_is_at_no_distance_from_its_teacher(
    encoder: Path, load: LoadModel
) -> None:
    model = load(encoder).eval()
    distance = float(kd_sum(model.teacher_states(IDS), model.hidden_states(IDS)))
    assert distance / IDS.numel() == pytest.approx(0, abs=1e-6)
    zero_pruned(model.matrices, Mask.by_magnitude(model.dense, 0.5))
    assert float(kd_sum(model.teacher_states(IDS), model.hidden_states(IDS))) > 0.1


def test_the_teacher_is_dense_and_without_dropout_while_the_student_has_it(
    noisy: Path, load: LoadModel
) -> None:
    published = AutoModelForMaskedLM.from_pretrained(noisy).eval()
    expected = published(input_ids=IDS, output_hidden_states=True).hidden_states[1:]
    model = load(noisy).train()
    zero_pruned(model.matrices, Mask.by_magnitude(model.dense, 0.5))
    before = torch.get_rng_state()
    for _ in range(2):
        for mine, theirs in zip(model.teacher_states(IDS), expected, strict=True):
            torch.testing.assert_close(mine, theirs)
            assert not mine.requires_grad
    assert torch.equal(torch.get_rng_state(), before), "the teacher drew dropout"
    assert all(module.training for module in model.modules()), "the student lost its dropout"
    first, second = model.hidden_states(IDS), model.hidden_states(IDS)
    assert not torch.equal(first[0], second[0])
