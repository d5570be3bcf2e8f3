"""Movement pruning: weights and scores that train together under a rising sparsity."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tamt_ray.masks.layout import Layout
from tamt_ray.masks.mask import Mask, count_true
from tamt_ray.search.imp import Subnetwork
from tamt_ray.search.language_model import LanguageModel


class MovedWeights(Subnetwork):
    """W ⊙ M under training beside the scores S that M ranks.

    ∂L/∂S = ∂L/∂(W ⊙ M) ⊙ W for every weight, and ∂L/∂W = ∂L/∂(W ⊙ M) ⊙ M. The sparsity after step
    t is s (1 − (1 − t / ramp)³), and s after `ramp` steps. A pruned weight keeps its value and may
    come back.
    """

    def __init__(self, model: LanguageModel, sparsity: float, ramp: int, pattern: str) -> None:
        """`sparsity` s, reached after `ramp` steps."""
        super().__init__(model, Mask.by_magnitude(model.dense, 0.0))
        self._sparsity, self._ramp, self._step = sparsity, max(ramp, 1), 0
        self._pattern = pattern
        self._frozen = {name: w for name, w in model.dense.items() if name not in model.matrices}
        """The pooler, which is pruned by magnitude and not trained."""
        self._scores = {
            name: nn.Parameter(torch.zeros_like(weight)) for name, weight in model.matrices.items()
        }
        self._layout = Layout(
            {name: tuple(weight.shape) for name, weight in model.matrices.items()}, pattern
        )
        self._values = {
            name: self._dense if weight is self._masked else weight.detach().clone()
            for name, weight in model.matrices.items()
        }
        """W, which the model's own tensors hold between `before_step` and `after_step` alone."""

    def parameters(self) -> list[nn.Parameter]:
        return [*super().parameters(), *self._scores.values()]

    def mask(self) -> Mask:
        """Return the mask of the present scores at the full sparsity."""
        scores = {**self._frozen, **self._scores}
        ranked = {name: scores[name].detach() for name in self._model.dense}
        for name in self._frozen:
            ranked[name] = ranked[name].abs()
        return Mask.by_score(ranked, self._sparsity, pattern=self._pattern)

    @torch.no_grad()
    def before_step(self) -> None:
        """Turn the gradients into those of S and W, and put W in place."""
        for name, weight in self._model.matrices.items():
            assert weight.grad is not None, f"{name} got no gradient"
            self._scores[name].grad = weight.grad * self._values[name]
        super().before_step()
        for name, weight in self._own():
            weight.copy_(self._values[name])

    @torch.no_grad()
    def after_step(self) -> None:
        """Take in the new W and S; choose M for this step."""
        for name, weight in self._own():
            self._values[name].copy_(weight)
        self._step += 1
        self._choose()

    def _own(self) -> list[tuple[str, nn.Parameter]]:
        """Return the matrices but for the embedding, whose W the decoder holds."""
        return [(n, w) for n, w in self._model.matrices.items() if w is not self._masked]

    def _choose(self) -> None:
        left = max(0.0, 1 - self._step / self._ramp)
        scores = {name: score.detach() for name, score in self._scores.items()}
        self._keep = self._layout.select(scores, self._sparsity * (1 - left**3))
        self._seen = self._keep.get(self._model.embedding, self._seen)
        for name, weight in self._own():
            torch.mul(self._values[name], self._keep[name], out=weight.data)
        self._follow()

    def figures(self) -> dict[str, float]:
        """`density`: the share of weights kept, over all trained matrices."""
        kept = count_true(self._keep.values())
        return {"density": kept / sum(keep.numel() for keep in self._keep.values())}

    def state(self) -> Mapping[str, Tensor]:
        """Return the step, and W where the model holds W ⊙ M."""
        hidden = {f"hidden.{name}": self._values[name] for name, _ in self._own()}
        return {"step": torch.tensor(self._step), **hidden}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._step = int(state["step"])
        with torch.no_grad():
            for name, _ in self._own():
                self._values[name].copy_(state[f"hidden.{name}"])
            self._choose()
