"""Settings of trained searches: batch, schedule, precision, optimiser and scores."""

from typing import Annotated, Literal

from pydantic import Field

from tamt_ray.values.base import INCIDENTAL, Count, Fraction, Frozen, Positive

Precision = Literal["float32", "tf32", "bfloat16"]
"""`tf32` rounds the factors of matrix products, on GPUs that can; `bfloat16` is autocast. Weights,
losses and the optimiser stay in float32."""


class Training(Frozen):
    """Settings that all trained searches of a sweep share."""

    batch_size: Count = 16
    """Blocks a step over all workers together."""
    micro_batch: Count = 4
    """Blocks computed at once. Workers share a batch in such pieces, so that their number does not
    change the result, and no more of them than pieces have work. Large ones fill a large GPU (16)
    and take its memory. Dropout is drawn for each piece, so another size finds other masks."""
    decay_steps: Count = 27920
    """Steps over which the learning rate falls linearly to zero, whatever the step limit."""
    log_every: Annotated[Count, INCIDENTAL] = 50
    """Steps between two points of the logged curves."""
    precision: Precision = "float32"
    """Number format of the forward and backward pass: `tf32` rounds the factors of matrix products
    on GPUs that can and does nothing elsewhere, `bfloat16` is autocast. Either finds other masks.
    Weights, scores, losses and the optimiser stay in float32."""
    gradients: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the gradient all-reduce; `bfloat16` halves the bytes. The number of workers then
    changes the result: it enters the identity of a search and cannot be `auto`."""
    compile: bool = False
    """Compile the encoder by `torch.compile`. It takes a minute at the start of every search
    and sums in another order, so that the masks differ."""


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
    """Bias correction of Adam's moments; without it this is BertAdam."""
    early_eps: bool = False
    """Add ε before the bias correction, as the released code's AdamW does: at step t it counts as
    ε / √(1 − β₂ᵗ), at first thirty times ε."""
    clip: Positive = 1.0
    """Largest gradient norm."""
    clip_per: Literal["all", "tensor"] = "all"
    """Over which gradients the norm is taken: all together, or each tensor alone."""


class Scoring(Frozen):
    """Start of the scores, S = αφ where the first mask keeps, else 0 (Eq. 5), and the mask
    M = 1[S ≥ φ] (Eq. 3)."""

    init: Literal["omp", "random", "graded", "curved"] = "omp"
    """Start of the scores: αφ and 0 by the mask of OMP or a random one, as in the paper; or
    `graded`, the rank of |W| within its matrix, from 0 to 1. Then the first mask is OMP's, weights
    near the cut change first, and a learning rate counts as shares of the weights per step: for
    searches of some hundred steps, where the paper's scores hardly leave their start. `curved` is
    graded by W² h instead, h the curvature of the distillation loss, for which it reads the text of
    16 steps first."""
    threshold: Positive = 0.01
    """φ at the start; not of `graded` and `curved` scores."""
    scale: float = Field(default=2.0, gt=1)
    """α: a kept weight starts with the score αφ, a pruned one with 0."""
    ranking: Literal["signed", "magnitude"] = "signed"
    """Values that are ranked to find φ: S, or |S|. Only S lets M = 1[S ≥ φ] hold the sparsity
    exactly; |S| brings weights back whose scores the gradient has pushed far below zero."""
    comparison: Literal["at_least", "above"] = "at_least"
    """M = 1[S ≥ φ], ties resolved so that the sparsity is exact; or 1[S > φ] as it comes, with
    int(n·s) of n weights and all ties pruned, from the start on."""
    rerank_every: Count = 1
    """Steps between two choices of φ. Above 1 the density drifts from one to the next."""
    rerank_early: bool = False
    """Choose φ anew after step 1 and then a step early: after step t where `rerank_every` divides
    t + 1."""

    @property
    def is_graded(self) -> bool:
        """Whether the scores start as ranks, which no threshold at the start divides."""
        return self.init in {"graded", "curved"}
