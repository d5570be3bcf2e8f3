"""The loss of a training step: the weighted sum of an objective's terms."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tamt_ray.objectives.base import Objective
from tamt_ray.search.language_model import BodyOutputs, LanguageModel, Reads
from tamt_ray.search.mlm_corruption import Corrupted


def reads_of(terms: Sequence[Objective]) -> Reads:
    """Return the outputs of a forward pass that some term reads."""
    return frozenset[str]().union(*(term.reads for term in terms))


class ForwardPass:
    """One micro-batch as loss terms see it; the dense model runs when a term first asks for it."""

    def __init__(
        self,
        model: LanguageModel,
        batch: Corrupted,
        reads: Reads,
        student: BodyOutputs | None = None,
    ) -> None:
        """`student`: outputs of the subnetwork, where they are there already."""
        self.batch = batch
        self.student = student or model.outputs(
            batch.ids, batch.real, reads, segments=batch.segments
        )
        self._model = model
        self._reads = reads
        self._teachers: dict[bool, BodyOutputs] = {}

    def teacher(self, *, dropout: bool = False) -> BodyOutputs:
        """Return the dense model's outputs on the same tokens, without gradients."""
        if dropout not in self._teachers:
            batch = self.batch
            self._teachers[dropout] = self._model.teacher_outputs(
                batch.ids, batch.real, self._reads, segments=batch.segments, dropout=dropout
            )
        return self._teachers[dropout]

    def loss(self, term: Objective) -> Tensor:
        """Return the loss of a term. Raises ValueError where it is no scalar."""
        value = term.loss(self)
        if value.ndim:
            raise ValueError(
                f"the loss term {term.name} returns {list(value.shape)} values; it has to return "
                "one, summed over what `count` counts"
            )
        return value

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the head's logits [tokens, vocabulary] of hidden states [tokens, hidden]."""
        return self._model.logits(hidden)


class SearchLoss(nn.Module):
    """The loss of one micro-batch as its share of the global batch's mean."""

    def __init__(self, model: LanguageModel, terms: Sequence[Objective]) -> None:
        super().__init__()
        self.model = model
        self.terms = tuple(terms)
        self.reads = reads_of(terms)
        self.forward_pass: Callable[[Corrupted], ForwardPass] | None = None
        """Stands for the forward pass of a micro-batch, where it is not computed as it comes."""
        model.prepare(self.reads)

    def counts(self, batch: Corrupted) -> list[int]:
        """Return over how many things of a batch each term is a mean."""
        return [term.count(batch) for term in self.terms]

    def forward(self, batch: Corrupted, counts: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise, and its terms by the names of their curves, without their
        weights; `counts` are those of the global batch."""
        if self.forward_pass:
            step = self.forward_pass(batch)
        else:
            step = ForwardPass(self.model, batch, self.reads)
        shares = [
            step.loss(term) / max(count, 1) for term, count in zip(self.terms, counts, strict=True)
        ]
        weighted = [
            share if term.weight == 1 else share * term.weight
            for term, share in zip(self.terms, shares, strict=True)
        ]
        values = {t.curve: share.detach() for t, share in zip(self.terms, shares, strict=True)}
        return torch.stack(weighted).sum(), values
