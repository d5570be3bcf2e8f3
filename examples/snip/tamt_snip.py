"""SNIP: single-shot pruning by connection sensitivity (Lee et al., ICLR 2019)."""

from collections.abc import Iterator
from itertools import product
from typing import ClassVar, Literal

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Method, Search
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.values.base import Count
from tamt_ray.values.table import Table
from tamt_ray.values.text import Text


class SnipSearch(Search):
    """Keep the weights with the largest |∂L/∂w · w|, L the MLM loss of θ0 on some text."""

    method: Literal["snip"] = "snip"
    text: Text
    batches: int
    batch_size: int
    seed: int
    head: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        return (self.head,) if self.head else ()

    @property
    def tables(self) -> tuple[Table, ...]:
        return (self.text.table,)

    @property
    def operations(self) -> float:
        tokens = self.batches * self.batch_size * self.text.block_size
        return 6 * tokens * self.model.parameters

    def find(self, bench: Bench) -> Found:
        """Add up gradients over the batches, then rank |g · w| in each matrix."""
        from tamt_ray.masks.mask import Mask
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
        return Found(Mask.by_score(scores, self.sparsity))


class Snip(Method):
    """Single-shot pruning by |g · w| on a few batches of training text."""

    unit: ClassVar[type[Search]] = SnipSearch
    method: Literal["snip"] = "snip"
    """Which method this is."""
    batches: Count = 8
    """Backward passes."""
    batch_size: Count = 16
    """Sequences per backward pass."""

    def searches(self, grid: Grid) -> Iterator[Asked]:
        """Yield one search per sparsity and seed."""
        for sparsity, seed in product(grid.sparsities, grid.mask_seeds):
            search = SnipSearch(
                model=grid.model, sparsity=sparsity, text=grid.corpus.training(),
                batches=self.batches, batch_size=self.batch_size, seed=seed, head=grid.head,
            )  # fmt: skip
            yield Asked(search, mask_seed=seed)

    def settings(self) -> tuple[str, str]:
        """Describe the ranking for the settings table."""
        return "", f"|g · w| over {self.batches} batches of {self.batch_size}"
