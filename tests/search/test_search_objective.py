"""The distillation and the masked-language-model loss by hand, and the teacher."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM
from transformers.modeling_outputs import BaseModelOutput

from tamt_ray.masks.mask import Mask, zero_pruned
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Corrupted
from tamt_ray.search.objective import Objective, kd_sum, mlm_sum
from tamt_ray.spec.method import Distillation

LoadModel = Callable[[Path], LanguageModel]
IDS = torch.tensor([[2, 5, 6, 4, 8, 3], [2, 9, 4, 11, 12, 3]])
CHOSEN = torch.zeros_like(IDS, dtype=torch.bool).index_put(
    (torch.tensor([0, 1, 1]), torch.tensor([3, 2, 4])), torch.tensor(True)
)
BATCH = Corrupted(IDS, CHOSEN, torch.tensor([7, 10, 12]))
LENGTHS = torch.tensor([6, 4])
PADDED = torch.tensor([[2, 5, 6, 4, 8, 3], [2, 9, 4, 3, 0, 0]])
"""The second row ends after four tokens, with two pads."""


def padded(pad: int = 0) -> Corrupted:
    """The padded rows, with another id where there is padding."""
    real = torch.arange(6) < LENGTHS[:, None]
    chosen = CHOSEN & real
    return Corrupted(torch.where(real, PADDED, pad), chosen, torch.tensor([7, 10]), real)


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
    # The first token alone.
    first = kd_sum(teacher, student, torch.tensor([[True, False]]))
    assert float(first) == pytest.approx((0 + 1 - 24 / 25) / 2, abs=1e-6)


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


PADS = Distillation(kd_text="paragraphs", kd_pads=True)


def losses(
    model: LanguageModel, batch: Corrupted, distillation: Distillation | None = None
) -> dict[str, float]:
    """Means over the batch."""
    objective = Objective(model, "mlm_kd", distillation)
    with torch.no_grad():
        _, terms = objective(batch, len(batch.labels), objective.tokens(batch))
    return {name: float(value) for name, value in terms.items()}


@pytest.fixture
def halved(encoder: Path, load: LoadModel) -> LanguageModel:
    """At 50 % sparsity, in eval mode."""
    model = load(encoder).eval()
    model.prune(Mask.by_magnitude(model.dense, 0.5))
    return model


def test_only_real_tokens_count_unless_pads_are_wanted(halved: LanguageModel) -> None:
    objective = Objective(halved, "kd")
    assert objective.tokens(padded()) == 10
    assert Objective(halved, "kd", PADS).tokens(padded()) == 12
    assert objective.tokens(BATCH) == Objective(halved, "kd", PADS).tokens(BATCH) == 12
    real = losses(halved, padded())["kd_loss"]
    # Each row alone and without its padding, weighted by its tokens.
    sums = []
    with torch.no_grad():
        for row, length in zip(PADDED, LENGTHS.tolist(), strict=True):
            ids = row[None, :length]
            sums.append(float(kd_sum(halved.teacher_states(ids), halved.hidden_states(ids))))
    assert real == pytest.approx(sum(sums) / 10, rel=1e-5)
    assert abs(losses(halved, padded(), PADS)["kd_loss"] - real) > 1e-4


def test_what_stands_in_the_padding_changes_nothing(bert: Path, load: LoadModel) -> None:
    model = load(bert).eval()
    model.prune(Mask.by_magnitude(model.dense, 0.5))
    found = losses(model, padded())
    assert losses(model, padded(pad=17)) == pytest.approx(found, rel=1e-6)
    # It is the attention mask that hides it.
    bare = padded(pad=17)
    shown = losses(model, Corrupted(bare.ids, bare.chosen, bare.labels))
    assert abs(shown["mlm_loss"] - found["mlm_loss"]) > 1e-3


@pytest.mark.parametrize(
    ("where", "distillation", "seen"),
    [
        ("embedding", None, False),
        ("padding", None, False),
        ("padding", PADS, True),
        ("first token", None, True),
    ],
)
def test_distillation_reads_neither_the_embeddings_output_nor_padding(
    halved: LanguageModel, where: str, distillation: Distillation | None, seen: bool
) -> None:
    """Noise in the student's states: in the embedding's, or in every layer's at some places."""
    before = losses(halved, padded(), distillation)["kd_loss"]
    draw = torch.Generator().manual_seed(0)

    def disturb(_module: object, _inputs: object, output: BaseModelOutput) -> None:
        assert output.hidden_states is not None
        assert output.last_hidden_state is not None
        states = list(output.hidden_states)
        places = {"padding": (1, slice(4, 6)), "first token": (0, slice(0, 1))}
        if where == "embedding":
            states[0] = torch.randn(states[0].shape, generator=draw)
        else:
            row, columns = places[where]
            for number, state in enumerate(states):
                noise = torch.randn(state.shape, generator=draw)
                states[number] = state.clone()
                states[number][row, columns] = noise[row, columns]
            output.last_hidden_state = states[-1]
        output.hidden_states = tuple(states)

    genuine = halved.teacher_states
    teacher = genuine(padded().ids, padded().real)
    halved.teacher_states = lambda *_args, **_named: teacher  # pyright: ignore
    halved.body.register_forward_hook(disturb)
    after = losses(halved, padded(), distillation)["kd_loss"]
    assert (after != before) == seen
