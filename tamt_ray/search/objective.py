"""What a search minimises (PAPER §2): MLM loss, hidden-state distillation, or their sum."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.masking import Corrupted

Terms = Literal["mlm", "kd", "mlm_kd"]


def mlm_sum(model: LanguageModel, last_hidden: Tensor, batch: Corrupted) -> Tensor:
    """Cross-entropy in nats summed over the chosen tokens; logits at those tokens only."""
    logits = model.logits(last_hidden[batch.chosen])
    return functional.cross_entropy(logits, batch.labels, reduction="sum")


def kd_sum(teacher: tuple[Tensor, ...], student: tuple[Tensor, ...]) -> Tensor:
    """Eq. 6 before the mean over tokens: 1 − cos, averaged over layers, summed over tokens."""
    distances = [
        (1 - functional.cosine_similarity(t, s, dim=-1)).sum()
        for t, s in zip(teacher, student, strict=True)
    ]
    return torch.stack(distances).sum() / len(distances)


class Objective(nn.Module):
    """The loss of one micro-batch as its share of the global batch's mean."""

    def __init__(self, model: LanguageModel, terms: Terms) -> None:
        super().__init__()
        self.model = model
        self.terms = terms

    def forward(
        self, batch: Corrupted, chosen: int, tokens: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss to minimise, and its terms; `chosen` and `tokens` count the global batch."""
        terms: dict[str, Tensor] = {}
        if "kd" in self.terms:
            student = self.model.hidden_states(batch.ids)
            terms["kd_loss"] = kd_sum(self.model.teacher_states(batch.ids), student) / tokens
            last = student[-1]
        else:
            last = self.model.last_hidden(batch.ids)
        if "mlm" in self.terms:
            terms["mlm_loss"] = mlm_sum(self.model, last, batch) / max(chosen, 1)
        loss = torch.stack(list(terms.values())).sum()
        return loss, {name: value.detach() for name, value in terms.items()}
