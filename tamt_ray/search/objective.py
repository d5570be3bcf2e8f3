"""What a search minimises: MLM loss, hidden-state distillation, or their sum."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Corrupted
from tamt_ray.spec.method import Distillation

Terms = Literal["mlm", "kd", "mlm_kd"]


def mlm_sum(model: LanguageModel, last_hidden: Tensor, batch: Corrupted) -> Tensor:
    """Cross-entropy in nats summed over the chosen tokens; logits at those tokens only."""
    logits = model.logits(last_hidden[batch.chosen])
    return functional.cross_entropy(_full(logits), batch.labels, reduction="sum")


def kd_sum(
    teacher: tuple[Tensor, ...], student: tuple[Tensor, ...], counted: Tensor | None = None
) -> Tensor:
    """Eq. 6 before the mean over tokens: 1 − cos, averaged over layers, summed over tokens.

    States are [batch, length, hidden] each; only tokens where `counted` [batch, length] is true
    are summed, all without it.
    """
    distances = [
        1 - functional.cosine_similarity(_full(t), _full(s), dim=-1)
        for t, s in zip(teacher, student, strict=True)
    ]
    if counted is not None:
        distances = [distance * counted for distance in distances]
    return torch.stack([distance.sum() for distance in distances]).sum() / len(distances)


def _full(values: Tensor) -> Tensor:
    """Losses are small differences of what short numbers may hold."""
    return values.float() if values.dtype is torch.bfloat16 else values


class Objective(nn.Module):
    """The loss of one micro-batch as its share of the global batch's mean.

    The teacher reads the same corrupted text as the student. Its dropout, where it has any, goes
    on in the student's stream of random numbers: other draws than the student's, and a function of
    (seed, step, micro-batch) like them.
    """

    def __init__(
        self, model: LanguageModel, terms: Terms, distillation: Distillation | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.terms = terms
        self._distillation = distillation or Distillation()

    def tokens(self, batch: Corrupted) -> int:
        """Over how many tokens of a batch the distillation is averaged."""
        counted = self._counted(batch)
        return batch.ids.numel() if counted is None else int(torch.count_nonzero(counted))

    def forward(
        self, batch: Corrupted, chosen: int, tokens: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss to minimise, and its terms; `chosen` and `tokens` count the global batch."""
        terms: dict[str, Tensor] = {}
        if "kd" in self.terms:
            student = self.model.hidden_states(batch.ids, batch.real)
            teacher = self.model.teacher_states(
                batch.ids, batch.real, dropout=self._distillation.teacher_dropout
            )
            terms["kd_loss"] = kd_sum(teacher, student, self._counted(batch)) / tokens
            last = student[-1]
        else:
            last = self.model.last_hidden(batch.ids, batch.real)
        if "mlm" in self.terms:
            terms["mlm_loss"] = mlm_sum(self.model, last, batch) / max(chosen, 1)
        loss = torch.stack(list(terms.values())).sum()
        return loss, {name: value.detach() for name, value in terms.items()}

    def _counted(self, batch: Corrupted) -> Tensor | None:
        """None for all tokens."""
        return None if self._distillation.kd_pads else batch.real
