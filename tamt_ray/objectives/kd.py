"""Distillation of hidden states (Eq. 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from tamt_ray.objectives.base import Objective, Reading, Sequences, Step, widened

if TYPE_CHECKING:
    from torch import Tensor


class Kd(Objective):
    """Mean over tokens and layers of 1 − cos between the subnetwork's and the dense model's states.

    The dense model reads the same text as the subnetwork. Its dropout, where it has any, goes on in
    the subnetwork's stream of random numbers: other draws, and a function of (seed, step,
    micro-batch) alike.
    """

    reads: ClassVar[frozenset[Reading]] = frozenset({"states"})
    distils: ClassVar[bool] = True
    objective: Literal["kd"] = "kd"
    """Name of the loss term."""
    pads: bool = False
    """Average over padding as well as over real tokens."""
    teacher_dropout: bool = False
    """Dropout in the dense model's forward pass."""

    def count(self, batch: Sequences) -> int:
        """Return the number of tokens, with padding where that counts."""
        return batch.ids.numel() if self.pads else super().count(batch)

    def loss(self, step: Step) -> Tensor:
        """Return 1 − cos averaged over layers and summed over tokens."""
        import torch
        from torch.nn import functional

        student, teacher = step.student.states, step.teacher(dropout=self.teacher_dropout).states
        distances = [
            1 - functional.cosine_similarity(widened(t), widened(s), dim=-1)
            for t, s in zip(teacher, student, strict=True)
        ]
        counted = None if self.pads else step.batch.real
        if counted is not None:
            distances = [distance * counted for distance in distances]
        return torch.stack([distance.sum() for distance in distances]).sum() / len(distances)
