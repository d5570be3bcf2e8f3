"""A pre-trained language model."""

from typing import Annotated, Literal

from pydantic import Field

from tamt_ray.spec.base import Count, Frozen, Positive
from tamt_ray.spec.source import Source


class HeadTraining(Frozen):
    """How to train an MLM head for an encoder that was published without one.

    The encoder and the tied decoder matrix stay frozen; transform, LayerNorm and bias train.
    """

    steps: Count
    batch_size: Count = 16
    micro_batch: Count = 4
    lr: Positive = 1e-3
    seed: int = 1


class Model(Frozen):
    """An encoder θ0 and how its parts are used."""

    source: Source
    head: HeadTraining | None = None
    """Set where the published model has no MLM head of its own."""
    prune: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Names of the matrices to prune, as glob patterns; `tamt explain` lists them."""
    pooler: bool = False
    """Prune the pooler's matrix as well. No objective reaches it, so it keeps its first mask."""
    pooling: Literal["native", "mean"] = "native"
    """What a sentence classifier reads: the architecture's own head, or the mean over tokens."""
    parameters: float = Field(default=110e6, gt=0)
    """Number of weights, used by the cost estimate only."""
