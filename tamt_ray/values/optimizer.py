"""The optimiser of one trained search."""

from typing import Literal

from pydantic import Field

from tamt_ray.values.base import Fraction, Frozen, Positive


class Optimizer(Frozen):
    """Adam with decoupled weight decay, and the clipping of its gradients."""

    lr: Positive = 5e-5
    """At the first step; it falls linearly to zero over `decay_steps`."""
    head_lr: Positive | None = None
    """Rate of the MLM head alone, with the same decay; `lr` by default."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """β₁, β₂: decay rates of Adam's first and second moment."""
    eps: Positive = 1e-8
    """Adam's ε, added to the root of the second moment."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Acts on whatever trains: a TAMT search decays its scores."""
    bias_correction: bool = True
    """Whether Adam corrects the bias of its moments; without it this is BertAdam."""
    early_eps: bool = False
    """Add ε before the bias correction, as the released code's AdamW does: at step t it counts as
    ε / √(1 − β₂ᵗ), at first thirty times ε."""
    clip: Positive = 1.0
    """Largest gradient norm."""
    clip_per: Literal["all", "tensor"] = "all"
    """Over which gradients the norm is taken: all together, or each tensor alone."""
