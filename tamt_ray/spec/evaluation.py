"""How the losses of masks are measured."""

from tamt_ray.values.base import Count, Frozen


class PretrainEval(Frozen):
    """How the losses of each subnetwork are measured: same masked positions for all."""

    batch_size: Count = 16
    """Sequences of one forward pass; changes nothing but rounding."""
    seed: int = 0
    """Of the masked positions, the same for every subnetwork."""
