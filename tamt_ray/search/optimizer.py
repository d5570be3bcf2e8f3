"""The optimisers of the trained searches: AdamW, and the released code's two."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from tamt_ray.values.training import Optimizer


def make_optimizer(
    parameters: Iterable[nn.Parameter], optimizer: Optimizer, head: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """AdamW, with `early_eps` the released code's, or BertAdam where `bias_correction` is off.

    Each parameter's state is three plain tensors: `step`, `exp_avg` and `exp_avg_sq`. The learning
    rate stays `optimizer.lr` until `set_rates` is called; that of the parameters that are in `head`
    too, with a `head_lr`, stands in a group of its own.
    """
    kind = EarlyEps if optimizer.early_eps else torch.optim.AdamW
    if not optimizer.bias_correction:
        kind = BertAdam
    apart = {id(parameter) for parameter in head} if optimizer.head_lr else set[int]()
    shared, own = list[nn.Parameter](), list[nn.Parameter]()
    for parameter in parameters:
        (own if id(parameter) in apart else shared).append(parameter)
    groups = [{"params": shared}, {"params": own, "lr": optimizer.head_lr}]
    return kind(
        [group for group in groups if group["params"]], lr=optimizer.lr, betas=optimizer.betas,
        eps=optimizer.eps, weight_decay=optimizer.weight_decay, fused=True,
    )  # fmt: skip


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every learning rate to a share of the one at the first step."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("first_lr", group["lr"]) * share


def clip_gradients(parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> None:
    """Scale gradients down to a norm of at most `clip`, together or each tensor by its own."""
    if optimizer.clip_per == "all":
        torch.nn.utils.clip_grad_norm_(parameters, optimizer.clip)
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    # `clip_grad_norm_` for each tensor, in fewer kernels; the same to the bit.
    norms = torch.stack(torch._foreach_norm(gradients))  # pyright: ignore[reportPrivateImportUsage]
    scales = (optimizer.clip / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scales.unbind())  # pyright: ignore[reportPrivateImportUsage]


class EarlyEps(torch.optim.AdamW):
    """Adam with ε added before the bias correction, as in former versions of transformers.

    With c₁ = 1 − β₁ᵗ and c₂ = 1 − β₂ᵗ: w ← w − η(√c₂ / c₁ · m / (√v + ε) + λw). All parameters step
    together. torch's own kernel does it in one pass: what it corrects is taken back beforehand, as
    (m / c₁) / (√v / √c₂ + ε′) with ε′ = ε / √c₂.
    """

    _done = 0
    """The steps that the state `_counted` holds, which on a GPU the host would have to wait for."""
    _counted: Tensor | None = None

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter."""
        given = [
            {name: group[name] for name in ("lr", "eps", "weight_decay")}
            for group in self.param_groups
        ]
        state = self.state[self.param_groups[0]["params"][0]]
        if state and state["step"] is not self._counted:  # restored
            self._done = int(state["step"])
        self._done += 1
        for group in self.param_groups:
            first, second = (1 - beta**self._done for beta in group["betas"])
            self._take_back(group, first, math.sqrt(second))
        super().step()
        self._counted = state["step"]
        for group, before in zip(self.param_groups, given, strict=True):
            group.update(before)

    def _take_back(self, group: dict[str, float], first: float, root: float) -> None:
        """Change η, ε and λ for one step; `first` is c₁ and `root` √c₂."""
        group["eps"] /= root


class BertAdam(EarlyEps):
    """Adam without bias correction, as BERT was pre-trained with: w ← w − η(m / (√v + ε) + λw).

    As ηm / (√v + ε) = η′(m / c₁) / (√v / √c₂ + ε′) with η′ = ηc₁ / √c₂.
    """

    def _take_back(self, group: dict[str, float], first: float, root: float) -> None:
        super()._take_back(group, first, root)
        group["lr"] *= first / root
        group["weight_decay"] *= root / first
