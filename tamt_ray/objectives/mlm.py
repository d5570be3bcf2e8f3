"""The masked-language-model loss (Eq. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from tamt_ray.objectives.base import Objective, Sequences, Step, widened

if TYPE_CHECKING:
    from torch import Tensor


class Mlm(Objective):
    """Cross-entropy in nats of the chosen tokens."""

    needs_head: ClassVar[bool] = True
    objective: Literal["mlm"] = "mlm"
    """Name of the loss term."""

    def count(self, batch: Sequences) -> int:
        return len(batch.labels)

    def loss(self, step: Step) -> Tensor:
        """Return the cross-entropy summed over the chosen tokens; logits at those tokens only."""
        from torch.nn import functional

        logits = step.logits(step.student.last.flatten(0, 1).index_select(0, step.batch.places))
        return functional.cross_entropy(widened(logits), step.batch.labels, reduction="sum")
