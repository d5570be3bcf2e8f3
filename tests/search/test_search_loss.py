"""The loss of a micro-batch as the sum of its terms, and the teacher that some of them ask."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM
from transformers.modeling_outputs import BaseModelOutput

from tamt_ray.masks.mask import Mask, zero_pruned
from tamt_ray.objectives.base import Objective, Step
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import ForwardPass, SearchLoss
from tamt_ray.search.mlm_corruption import Corrupted

from .search_probes import states, teacher_states, terms_of

LoadModel = Callable[[Path], LanguageModel]
IDS = torch.tensor([[2, 5, 6, 4, 8, 3], [2, 9, 4, 11, 12, 3]])
PLACES = torch.tensor([3, 6 + 2, 6 + 4])
BATCH = Corrupted(IDS, PLACES, torch.tensor([7, 10, 12]))
LENGTHS = torch.tensor([6, 4])
PADDED = torch.tensor([[2, 5, 6, 4, 8, 3], [2, 9, 4, 3, 0, 0]])
"""The second row ends after four tokens, with two pads."""


def padded(pad: int = 0) -> Corrupted:
    """The padded rows, with another id where there is padding."""
    real = torch.arange(6) < LENGTHS[:, None]
    return Corrupted(torch.where(real, PADDED, pad), PLACES[:2], torch.tensor([7, 10]), real)


def total(term: Objective, model: LanguageModel, batch: Corrupted) -> float:
    """Return the sum over what the term counts."""
    return float(term.loss(ForwardPass(model, batch, term.reads)))


def test_hidden_states_are_the_layers_outputs_without_the_embeddings(
    encoder: Path, load: LoadModel
) -> None:
    model = load(encoder).eval()
    published = AutoModelForMaskedLM.from_pretrained(encoder)
    expected = published(input_ids=IDS, output_hidden_states=True).hidden_states
    assert len(expected) == 3
    for found in (states(model, IDS), teacher_states(model, IDS)):
        assert len(found) == 2
        for mine, theirs in zip(found, expected[1:], strict=True):
            torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(model.outputs(IDS).last, expected[-1])


@torch.no_grad()
def test_each_term_is_the_mean_over_the_tokens_of_the_global_batch(
    bert: Path, load: LoadModel
) -> None:
    model = load(bert).eval()
    zero_pruned(model.matrices, Mask.by_magnitude(model.dense, 0.5))
    loss, terms = SearchLoss(model, [Mlm(), Kd()])(BATCH, [6, 24])
    # A micro-batch that is half the batch has half the weight.
    kd = total(Kd(), model, BATCH)
    mlm = total(Mlm(), model, BATCH)
    assert float(terms["kd_loss"]) == pytest.approx(kd / 24, rel=1e-6)
    assert float(terms["mlm_loss"]) == pytest.approx(mlm / 6, rel=1e-6)
    assert float(loss) == pytest.approx(kd / 24 + mlm / 6, rel=1e-6)
    assert set(SearchLoss(model, [Kd()])(BATCH, [24])[1]) == {"kd_loss"}
    assert set(SearchLoss(model, [Mlm()])(BATCH, [6])[1]) == {"mlm_loss"}
    # A weight enters what is minimised and not what is logged.
    weighted, same = SearchLoss(model, [Mlm(weight=3), Kd(weight=0.25)])(BATCH, [6, 24])
    assert float(weighted) == pytest.approx(0.25 * kd / 24 + 3 * mlm / 6, rel=1e-6)
    assert same == terms


def test_a_batch_in_which_nothing_is_chosen_costs_nothing(bert: Path, load: LoadModel) -> None:
    empty = Corrupted(IDS, PLACES[:0], torch.empty(0, dtype=torch.long))
    loss, _ = SearchLoss(load(bert), [Mlm()])(empty, [0])
    assert loss.item() == 0.0
    loss.backward()


@torch.no_grad()
def test_the_unmasked_model_is_at_no_distance_from_its_teacher(
    encoder: Path, load: LoadModel
) -> None:
    model = load(encoder).eval()
    assert total(Kd(), model, BATCH) / IDS.numel() == pytest.approx(0, abs=1e-6)
    zero_pruned(model.matrices, Mask.by_magnitude(model.dense, 0.5))
    assert total(Kd(), model, BATCH) > 0.1


def test_the_teacher_is_dense_and_without_dropout_while_the_student_has_it(
    noisy: Path, load: LoadModel
) -> None:
    published = AutoModelForMaskedLM.from_pretrained(noisy).eval()
    expected = published(input_ids=IDS, output_hidden_states=True).hidden_states[1:]
    model = load(noisy).train()
    zero_pruned(model.matrices, Mask.by_magnitude(model.dense, 0.5))
    before = torch.get_rng_state()
    for _ in range(2):
        for mine, theirs in zip(teacher_states(model, IDS), expected, strict=True):
            torch.testing.assert_close(mine, theirs)
            assert not mine.requires_grad
    assert torch.equal(torch.get_rng_state(), before), "the teacher drew dropout"
    assert all(module.training for module in model.modules()), "the student lost its dropout"
    first, second = states(model, IDS), states(model, IDS)
    assert not torch.equal(first[0], second[0])


def losses(model: LanguageModel, batch: Corrupted, *, pads: bool = False) -> dict[str, float]:
    """Means over the batch."""
    loss = SearchLoss(model, terms_of("mlm_kd", pads=pads))
    with torch.no_grad():
        _, terms = loss(batch, loss.counts(batch))
    return {name: float(value) for name, value in terms.items()}


@pytest.fixture
def halved(encoder: Path, load: LoadModel) -> LanguageModel:
    """At 50 % sparsity, in eval mode."""
    model = load(encoder).eval()
    model.prune(Mask.by_magnitude(model.dense, 0.5))
    return model


def test_only_real_tokens_count_unless_pads_are_wanted(halved: LanguageModel) -> None:
    real_only, everything = Kd(), Kd(pads=True)
    assert real_only.count(padded()) == 10
    assert everything.count(padded()) == 12
    assert real_only.count(BATCH) == everything.count(BATCH) == 12
    real = losses(halved, padded())["kd_loss"]
    # Each row alone and without its padding, weighted by its tokens.
    sums = []
    with torch.no_grad():
        for row, length in zip(PADDED, LENGTHS.tolist(), strict=True):
            alone = Corrupted(row[None, :length], PLACES[:0], torch.empty(0))
            sums.append(total(real_only, halved, alone))
    assert real == pytest.approx(sum(sums) / 10, rel=1e-5)
    assert abs(losses(halved, padded(), pads=True)["kd_loss"] - real) > 1e-4


def test_what_stands_in_the_padding_changes_nothing(bert: Path, load: LoadModel) -> None:
    model = load(bert).eval()
    model.prune(Mask.by_magnitude(model.dense, 0.5))
    found = losses(model, padded())
    assert losses(model, padded(pad=17)) == pytest.approx(found, rel=1e-6)
    # It is the attention mask that hides it.
    bare = padded(pad=17)
    shown = losses(model, Corrupted(bare.ids, bare.places, bare.labels))
    assert abs(shown["mlm_loss"] - found["mlm_loss"]) > 1e-3


@pytest.mark.parametrize(
    ("where", "pads", "seen"),
    [
        ("embedding", False, False),
        ("padding", False, False),
        ("padding", True, True),
        ("first token", False, True),
    ],
)
def test_distillation_reads_neither_the_embeddings_output_nor_padding(
    halved: LanguageModel, where: str, pads: bool, seen: bool
) -> None:
    """Noise in the student's states: in the embedding's, or in every layer's at some places."""
    before = losses(halved, padded(), pads=pads)["kd_loss"]
    draw = torch.Generator().manual_seed(0)

    def disturb(_module: object, _inputs: object, output: BaseModelOutput) -> None:
        assert output.hidden_states is not None
        assert output.last_hidden_state is not None
        found = list(output.hidden_states)
        places = {"padding": (1, slice(4, 6)), "first token": (0, slice(0, 1))}
        if where == "embedding":
            found[0] = torch.randn(found[0].shape, generator=draw)
        else:
            row, columns = places[where]
            for number, state in enumerate(found):
                noise = torch.randn(state.shape, generator=draw)
                found[number] = state.clone()
                found[number][row, columns] = noise[row, columns]
            output.last_hidden_state = found[-1]
        output.hidden_states = tuple(found)

    teacher = halved.teacher_outputs(padded().ids, padded().real, {"states"})
    halved.teacher_outputs = lambda *_args, **_named: teacher  # pyright: ignore
    halved.body.register_forward_hook(disturb)
    after = losses(halved, padded(), pads=pads)["kd_loss"]
    assert (after != before) == seen


class Far(Kd):
    """Another term that asks the teacher."""

    objective: Literal["far"] = "far"

    def loss(self, step: Step) -> Tensor:
        return 2 * super().loss(step)


def test_the_teacher_runs_once_per_micro_batch_and_only_if_a_term_asks(
    bert: Path, load: LoadModel
) -> None:
    model = load(bert).eval()
    model.prune(Mask.by_magnitude(model.dense, 0.5))
    genuine, asked = model.teacher_outputs, list[bool]()

    def counted(*given: object, dropout: bool, **others: object) -> object:
        asked.append(dropout)
        return genuine(*given, dropout=dropout, **others)  # pyright: ignore

    model.teacher_outputs = counted  # pyright: ignore
    SearchLoss(model, [Mlm()])(BATCH, [3])
    assert asked == []
    _, terms = SearchLoss(model, [Kd(), Far()])(BATCH, [12, 12])
    assert asked == [False]
    assert terms["far_loss"] == pytest.approx(2 * terms["kd_loss"])
    # Dropout makes it another forward pass.
    SearchLoss(model, [Kd(), Far(teacher_dropout=True)])(BATCH, [12, 12])
    assert asked == [False, False, True]


class PerToken(Objective):
    """A term that forgets to add up."""

    objective: Literal["per_token"] = "per_token"

    def loss(self, step: Step) -> Tensor:
        return step.student.last.pow(2).mean(-1)


def test_a_loss_that_is_no_scalar_is_refused_by_its_name(halved: LanguageModel) -> None:
    batch = Corrupted(torch.ones(2, 4, dtype=torch.long), torch.tensor([1]), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"loss term per_token returns \[2, 4\] values; it has to"):
        SearchLoss(halved, [PerToken()])(batch, [8])
