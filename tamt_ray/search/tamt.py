"""Task-agnostic mask training (Eq. 3–5): scores learned straight-through, from their start on."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tamt_ray.masks.layout import Layout, PatternPruner
from tamt_ray.masks.mask import Mask, count_true
from tamt_ray.masks.pruner import Matrices
from tamt_ray.masks.select import CountZeros, make_pruner, zeros_at, zeros_below
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.values.pattern import UNSTRUCTURED
from tamt_ray.values.training import Scoring


def zeros_of(scoring: Scoring) -> CountZeros:
    """Return how the weights to be pruned are counted: to the nearest number, or with `above` as
    the released code does."""
    return zeros_below if scoring.comparison == "above" else zeros_at


def first_mask(
    weights: Mapping[str, Tensor],
    sparsity: float,
    scoring: Scoring,
    seed: int,
    pattern: str = UNSTRUCTURED,
) -> Mask:
    """Return the mask that the scores start from.

    With `above` all weights as small as the largest pruned one are pruned too.
    """
    zeros = zeros_of(scoring)
    if scoring.init == "random":
        return Mask.at_random(weights, sparsity, seed, zeros, pattern=pattern)
    mask = Mask.by_magnitude(weights, sparsity, zeros, pattern=pattern)
    if scoring.comparison == "at_least":
        return mask
    return Mask({name: _without_ties(keep, weights[name]) for name, keep in mask.items()})


def _without_ties(keep: Tensor, weight: Tensor) -> Tensor:
    size = weight.detach().abs().cpu()
    return size > size.masked_fill(keep, -torch.inf).max()


def first_scores(weight: Tensor, keep: Tensor, zeros: int | None, scoring: Scoring) -> Tensor:
    """Return S₀ of the units of a matrix, its weights where no pattern joins them.

    `keep` is their first mask, of the same shape, with so many `zeros`; None for several groups.

    From `omp` and `random`: αφ where the first mask keeps, else 0. Graded: the rank of |W|, or of
    what stands in for it, within the matrix over its number of weights, so that its largest make
    the first mask to the bit and weights near the cut change first.
    """
    if not scoring.is_graded:
        return keep.to(weight) * (scoring.scale * scoring.threshold)
    count = weight.numel()
    order = torch.argsort(weight.detach().abs().reshape(-1), stable=True)
    ranks = torch.empty(count, dtype=torch.float64, device=weight.device)
    ranks[order] = torch.arange(1, count + 1, dtype=torch.float64, device=weight.device)
    scores = (ranks / count).to(weight).view(weight.shape)
    if zeros is None:
        return scores
    # float32 has fewer numbers than a large matrix has ranks: keep both sides of the cut apart.
    cut = scores.new_tensor(zeros / count)
    above = torch.nextafter(cut, cut + 1)
    keep = keep.to(weight.device)
    return torch.where(keep, scores.clamp(min=above), scores.clamp(max=cut))


class MaskedWeights:
    """Scores S beside frozen weights W; the model's own tensors hold W ⊙ M at all times.

    M compares S (or |S|, by `ranking`) with a threshold φ of each matrix, chosen anew after step t,
    counted from 1, where `rerank_every` divides t; with `rerank_early` after t = 1 and where it
    divides t + 1:

    - `at_least`: φ is the smallest score to be kept. M = S ≥ φ, but after a step that chooses φ,
      ties at φ are resolved, so that the sparsity is exact.
    - `above`: φ is the largest of the int(n·s) scores to be pruned, as the released code's
      `kthvalue` gives it. M = S > φ: ties at φ are pruned all together, by OMP at the start too.

    After all other steps M compares the new S with the standing φ, and the number of zeros drifts.
    Before the first choice φ is `threshold`, under which M is the first mask. With
    `rerank_every: 1` and `at_least` the sparsity is exact after every step and no φ is kept.
    A mask that is asked for has a φ of its own, so that its sparsity is exact but for ties.
    """

    def __init__(
        self,
        model: LanguageModel,
        sparsity: float,
        scoring: Scoring,
        seed: int,
        pattern: str = UNSTRUCTURED,
        *,
        head: bool = False,
        sizes: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`head`: train the model's output head beside the scores. `sizes`: ranked by the start in
        place of the weights of `model.dense`."""
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for weight in model.matrices.values():
            weight.requires_grad_(True)
        self._head = list(model.head_parameters().values()) if head else []
        for parameter in self._head:
            parameter.requires_grad_(True)
        self._weights = model.matrices
        self._dense = model.dense
        self._scoring = scoring
        ranked = model.dense if sizes is None else sizes
        first = first_mask(ranked, sparsity, scoring, seed, pattern)
        zeros = zeros_of(scoring)
        layout = Layout({name: tuple(w.shape) for name, w in self._weights.items()}, pattern)
        units = layout.pool({name: ranked[name].abs() for name in self._weights})
        kept = layout.pool({name: first[name].float() for name in self._weights})
        starts = {
            name: first_scores(
                size,
                kept[name] > 0.5,
                zeros(sparsity, size.numel()) if len(size) == 1 else None,
                scoring,
            )
            for name, size in units.items()
        }
        self.scores = {name: nn.Parameter(scores) for name, scores in layout.spread(starts).items()}
        self._fixed = {name: keep for name, keep in first.items() if name not in self.scores}
        """Masks of matrices without trained scores: the pooler's."""
        matrices = Matrices(
            self.scores,
            self._dense,
            self._weights,
            {name: zeros(sparsity, weight.numel()) for name, weight in self._weights.items()},
            magnitude=scoring.ranking == "magnitude",
        )
        self._pruner = (
            make_pruner(matrices)
            if pattern == UNSTRUCTURED
            else PatternPruner(matrices, layout, sparsity)
        )
        self._pattern = pattern
        self._density = 1 - first.sparsity
        self._step = 0
        self._thresholds: dict[str, Tensor] = {}
        if not self._always_exact:
            self._thresholds = (
                self._pruner.thresholds(at_least=self._at_least)
                if scoring.is_graded
                else {
                    name: score.new_tensor(scoring.threshold) for name, score in self.scores.items()
                }
            )
        self._write()

    def keep(self, name: str) -> Tensor:
        """M of one trained matrix."""
        if self._is_exact:
            return self._pruner.keep()[name]
        ranked, phi = self._ranked(name), self._thresholds[name]
        return ranked >= phi if self._at_least else ranked > phi

    def parameters(self) -> list[nn.Parameter]:
        """Return the scores, and the head's parameters where it trains."""
        return [*self.scores.values(), *self._head]

    @torch.no_grad()
    def after_step(self) -> None:
        """Take in the scores of one more step: choose φ where it is time, write W ⊙ M."""
        self._step += 1
        if self._reranks and not self._always_exact:
            self._thresholds = self._pruner.thresholds(at_least=self._at_least)
        self._write()

    @torch.no_grad()
    def before_step(self) -> None:
        """∂L/∂S = ∂L/∂W_eff ⊙ W, in the memory of ∂L/∂W_eff (Eq. 4)."""
        gradients: list[Tensor] = []
        for name, weight in self._weights.items():
            if weight.grad is None:
                # No loss term reaches it.
                weight.grad = torch.zeros_like(weight)
            gradients.append(weight.grad)
            self.scores[name].grad = weight.grad
        dense = [self._dense[name] for name in self._weights]
        torch._foreach_mul_(gradients, dense)  # pyright: ignore[reportPrivateImportUsage]

    def mask(self) -> Mask:
        """Return the subnetwork with φ chosen for the present scores; training goes on with the φ
        that stands."""
        if self._at_least:
            found = self._pruner.keep()
        else:
            phi = self._pruner.thresholds(at_least=False)
            found = {name: self._ranked(name) > value for name, value in phi.items()}
        found = {**self._fixed, **found}
        return Mask({name: found[name] for name in self._dense}, self._pattern)

    def figures(self) -> dict[str, float]:
        """`density`: the share of weights kept, over all masked matrices."""
        if self._always_exact:
            return {"density": self._density}
        kept = count_true(self._fixed.values()) + count_true(map(self.keep, self.scores))
        return {"density": kept / sum(weight.numel() for weight in self._dense.values())}

    def state(self) -> dict[str, Tensor]:
        """Return the mask's state beside the scores: the steps done and every current φ."""
        return {"step": torch.tensor(self._step), **self._thresholds}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`, with the scores of that step already in place; writes W ⊙ M."""
        self._step = int(state["step"])
        self._thresholds = {name: state[name].to(self.scores[name]) for name in self._thresholds}
        with torch.no_grad():
            self._write()

    @property
    def _at_least(self) -> bool:
        return self._scoring.comparison == "at_least"

    @property
    def _always_exact(self) -> bool:
        return self._at_least and self._scoring.rerank_every == 1

    @property
    def _reranks(self) -> bool:
        """True where φ is chosen after the last step."""
        early = self._scoring.rerank_early
        due = (self._step + early) % self._scoring.rerank_every == 0
        return self._step > 0 and (due or (early and self._step == 1))

    @property
    def _is_exact(self) -> bool:
        """True where ties at φ are resolved in the present mask."""
        return self._always_exact or (self._at_least and self._reranks)

    def _ranked(self, name: str) -> Tensor:
        return self._pruner.matrices.ranked(name)

    def _write(self) -> None:
        if self._is_exact:
            self._pruner.prune()
        else:
            self._pruner.prune_at(self._thresholds, at_least=self._at_least)
