"""One-shot pruning by the diagonal of the empirical Fisher matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from tamt_ray.methods.base import Bench
from tamt_ray.methods.one_shot import CalibratedMethod, CalibratedSearch
from tamt_ray.objectives.base import Objective
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.values.base import Count

if TYPE_CHECKING:
    from torch import Tensor


class FisherSearch(CalibratedSearch):
    """The largest w² F, F the mean squared gradient of the MLM loss of θ0."""

    method: Literal["fisher"] = "fisher"

    def scores(self, bench: Bench) -> Mapping[str, Tensor]:
        """Return w² times the mean over batches of the squared gradient.

        The pooler, which the loss does not reach, is ranked by w².
        """
        from tamt_ray.search.curvature import squared_gradients
        from tamt_ray.search.loss import SearchLoss

        model = bench.model(self.head)
        loss = SearchLoss(model, [Mlm()])

        def values() -> Iterator[Tensor]:
            reading = bench.batches(self.text, self.batch_size, self.batches, self.seed)
            for number, batch in enumerate(reading, start=1):
                yield loss(batch, loss.counts(batch))[0]
                bench.progress(number, self.batches)

        fisher = squared_gradients(model, values(), 1 / self.batches)
        return {
            name: weight.square() * fisher.get(name, 1.0) for name, weight in model.dense.items()
        }


class Fisher(CalibratedMethod):
    """Optimal brain surgeon in one shot with a diagonal Fisher matrix: w² F of the MLM loss."""

    unit: ClassVar[type[CalibratedSearch]] = FisherSearch  # pyright: ignore[reportIncompatibleVariableOverride]
    method: Literal["fisher"] = "fisher"
    """Name of the method."""
    batches: Count = 256
    """Backward passes; the gradient of each is squared."""
    batch_size: Count = 1
    """Sequences per backward pass."""

    @property
    def score(self) -> str:
        return "w² · g²"

    @property
    def terms(self) -> tuple[Objective, ...]:
        return (Mlm(),)
