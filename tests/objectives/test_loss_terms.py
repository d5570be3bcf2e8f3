"""The loss terms of the paper by hand."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.search.language_model import BodyOutputs
from tamt_ray.search.mlm_corruption import Corrupted

NOTHING = torch.empty(0)


@dataclass
class Given:
    """A step whose outputs are given, with a head that hands hidden states on."""

    batch: Corrupted
    student: BodyOutputs
    dense: BodyOutputs

    def teacher(self, *, dropout: bool = False) -> BodyOutputs:
        assert not dropout
        return self.dense

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


def layers(*states: Tensor) -> BodyOutputs:
    return BodyOutputs(states[-1], states)


def two_tokens(real: list[bool] | None) -> Corrupted:
    """One sequence of two tokens, none of them chosen."""
    none = torch.empty(0, dtype=torch.long)
    return Corrupted(
        torch.tensor([[5, 6]]), none, none, None if real is None else torch.tensor([real])
    )


def test_distillation_by_hand() -> None:
    # Two layers; lengths must not matter.
    teacher = layers(
        torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]),
        torch.tensor([[[3.0, 4.0], [1.0, 1.0]]]),
    )
    student = layers(
        torch.tensor([[[5.0, 0.0], [1.0, 1.0]]]),  # cos 1, 1/√2
        torch.tensor([[[4.0, 3.0], [-2.0, -2.0]]]),  # cos 24/25, −1
    )
    both = (0 + (1 - 1 / math.sqrt(2)) + (1 - 24 / 25) + 2) / 2
    first = (0 + 1 - 24 / 25) / 2
    for real, term, expected, count in (
        (None, Kd(), both, 2),
        ([True, True], Kd(), both, 2),
        ([True, False], Kd(), first, 1),
        ([True, False], Kd(pads=True), both, 2),
    ):
        step = Given(two_tokens(real), student, teacher)
        assert float(term.loss(step)) == pytest.approx(expected, abs=1e-6)
        assert term.count(step.batch) == count


def test_layers_of_teacher_and_student_must_be_as_many() -> None:
    state = torch.ones(1, 2, 2)
    step = Given(two_tokens(None), layers(state), layers(state, state))
    with pytest.raises(ValueError, match="zip"):
        Kd().loss(step)


def test_mlm_by_hand() -> None:
    hidden = torch.zeros(1, 4, 3)
    hidden[0, 1] = torch.tensor([0.0, math.log(2), 0.0])  # 1/4, 1/2, 1/4
    hidden[0, 2] = torch.tensor([100.0, 0.0, 0.0])  # not chosen
    batch = Corrupted(
        torch.zeros(1, 4, dtype=torch.long), torch.tensor([1, 3]), torch.tensor([1, 2])
    )
    loss = Mlm().loss(Given(batch, BodyOutputs(hidden), BodyOutputs(NOTHING)))
    assert float(loss) == pytest.approx(math.log(2) + math.log(3), abs=1e-6)
    assert Mlm().count(batch) == 2
