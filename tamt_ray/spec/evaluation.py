"""The pre-training evaluation of masks."""

from tamt_ray.values.base import Count, Frozen
from tamt_ray.values.training import Precision


class PretrainEval(Frozen):
    """Settings of the pre-training evaluation: the same masked positions for every subnetwork."""

    batch_size: Count = 16
    """Sequences of one forward pass; changes nothing but rounding."""
    seed: int = 0
    """Seed of the masked positions."""
    precision: Precision = "float32"
    """Number format of the forward passes, as in `search`; losses are computed in float32."""
