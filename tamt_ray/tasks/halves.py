"""A fixed split of a validation set into halves, so that no score is chosen on what it measures."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tamt_ray.data.seeds import derive
from tamt_ray.tasks.metrics.base import Predictions


def first_half(predictions: Predictions) -> NDArray[np.bool_]:
    """Return which examples are in the first half, [n]: a random split, stratified by gold value.

    It depends on the number of examples and their gold values alone, so that it is the same for
    every mask and seed. The first half has one example more where n is odd.
    """
    order = _shuffled(len(predictions.gold))
    if isinstance(predictions.gold, np.ndarray):
        order = order[np.argsort(predictions.gold[order], kind="stable")]
    found = np.zeros(len(order), dtype=np.bool_)
    found[order[::2]] = True
    return found


@cache
def _shuffled(count: int) -> NDArray[np.intp]:
    # By hashes, since NumPy does not promise the same stream in every version.
    return np.argsort([derive("half", example) for example in range(count)])
