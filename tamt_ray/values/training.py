"""Batch, schedule and precision of trained searches."""

from typing import Annotated, Literal

from tamt_ray.values.base import INCIDENTAL, Count, Frozen

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
