"""The optimisers of the trained searches: AdamW, and the released code's BertAdam."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from tamt_ray.values.optimizer import Optimizer


def make_optimizer(
    parameters: Iterable[nn.Parameter], optimizer: Optimizer
) -> torch.optim.Optimizer:
    """AdamW, or BertAdam where `bias_correction` is off.

    Each parameter's state is three plain tensors: `step`, `exp_avg` and `exp_avg_sq`. The learning
    rate stays `optimizer.lr` until the caller sets another in `param_groups`.
    """
    kind = torch.optim.AdamW if optimizer.bias_correction else BertAdam
    return kind(
        parameters, lr=optimizer.lr, betas=optimizer.betas, eps=optimizer.eps,
        weight_decay=optimizer.weight_decay, fused=True,
    )  # fmt: skip


def clip_gradients(parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> None:
    """Scale gradients down to a norm of at most `clip`, together or each tensor by its own."""
    if optimizer.clip_per == "all":
        torch.nn.utils.clip_grad_norm_(parameters, optimizer.clip)
        return
    for parameter in parameters:
        torch.nn.utils.clip_grad_norm_(parameter, optimizer.clip)


class BertAdam(torch.optim.AdamW):
    """Adam without bias correction, as BERT was pre-trained with.

    m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², w ← w − η(m / (√v + ε) + λw); all parameters step
    together. torch's own kernel does it in one pass: what it corrects is taken back beforehand, as
    η′(m / c₁) / (√v / √c₂ + ε′) = ηm / (√v + ε) with η′ = ηc₁ / √c₂ and ε′ = ε / √c₂.
    """

    _done = 0
    """The steps that the state `_counted` holds, which on a GPU the host would have to wait for."""
    _counted: Tensor | None = None

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter."""
        (group,) = self.param_groups
        given = {name: group[name] for name in ("lr", "eps", "weight_decay")}
        state = self.state[group["params"][0]]
        if state and state["step"] is not self._counted:  # restored
            self._done = int(state["step"])
        self._done += 1
        first, second = (1 - beta**self._done for beta in group["betas"])
        group["lr"] = given["lr"] * first / math.sqrt(second)
        group["eps"] = given["eps"] / math.sqrt(second)
        group["weight_decay"] = given["weight_decay"] * math.sqrt(second) / first
        super().step()
        self._counted = state["step"]
        group.update(given)
