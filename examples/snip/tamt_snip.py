"""SNIP: single-shot pruning by connection sensitivity (Lee et al., ICLR 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from tamt_ray.methods.base import Bench
from tamt_ray.methods.one_shot import CalibratedMethod, CalibratedSearch
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.values.base import Count

if TYPE_CHECKING:
    from torch import Tensor


class SnipSearch(CalibratedSearch):
    """Keep the weights with the largest |∂L/∂w · w|, L the MLM loss of θ0 on some text."""

    method: Literal["snip"] = "snip"

    def scores(self, bench: Bench) -> Mapping[str, Tensor]:
        """Add up gradients over the batches; return |g · w|."""
        from tamt_ray.search.loss import SearchLoss

        model = bench.model(self.head).eval()
        for weight in model.matrices.values():
            weight.requires_grad_(True)
        loss = SearchLoss(model, [Mlm()])
        batches = bench.batches(self.text, self.batch_size, self.batches, self.seed)
        for number, batch in enumerate(batches, start=1):
            value, _ = loss(batch, loss.counts(batch))
            value.backward()
            bench.progress(number, self.batches)
        # The pooler, if it is pruned, gets no gradient; it is ranked by magnitude.
        scores = {name: weight.abs() for name, weight in model.dense.items()}
        for name, weight in model.matrices.items():
            assert weight.grad is not None, f"{name} got no gradient"
            scores[name] = (weight.grad * weight.detach()).abs()
        return scores


class Snip(CalibratedMethod):
    """Single-shot pruning by |g · w| on a few batches of training text."""

    unit: ClassVar[type[CalibratedSearch]] = SnipSearch
    method: Literal["snip"] = "snip"
    """Which method this is."""
    batches: Count = 8
    """Backward passes."""
    batch_size: Count = 16
    """Sequences per backward pass."""

    @property
    def score(self) -> str:
        return "|g · w|"
