"""How a value changes with the length of a search."""

from collections.abc import Mapping

import numpy as np

from tamt_ray.analysis.stats.effect import Cells


def per_doubling(curves: Mapping[int, Cells]) -> Cells:
    """The change of a value whenever the steps double, for each pair of seeds.

    The slope of the least-squares line over log2 of the steps, of seeds that have a value at all
    of them; empty with fewer than two lengths.
    """
    if len(curves) < 2:
        return {}
    x = np.log2(np.array([*curves], dtype=np.float64))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    points = list(curves.values())
    whole = set(points[0]).intersection(*points[1:])
    return {
        seeds: float(
            sum(weight * each[seeds] for weight, each in zip(weights, points, strict=True))
        )
        for seeds in whole
    }
