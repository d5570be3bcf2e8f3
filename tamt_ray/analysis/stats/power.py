"""Number of seeds needed to detect a difference, from the variance of a pilot.

The model is that of `effect.py`: a difference of two methods under (mask seed, fine-tuning seed)
is their mean difference + a mask's part + a run's part + the rest, all independent.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import special

from tamt_ray.analysis.stats.comparison import cells
from tamt_ray.analysis.stats.effect import (
    Design,
    complete_block,
    mean_squares,
    paired,
    satterthwaite,
)
from tamt_ray.plan.expand import DENSE


class Components(NamedTuple):
    """Variances of one difference, in squared points."""

    masks: float
    runs: float
    rest: float


def components(tables: Iterable[Design]) -> Components | None:
    """Estimates pooled over tables of two masks and two runs or more; None without any.

    Where values are missing, the largest block without gaps counts, by its degrees of freedom. A
    variance that is estimated below 0 is 0.
    """
    sums, weights = np.zeros(3), np.zeros(3)
    for table in tables:
        block = complete_block(table)
        masks, runs = block.shape
        if min(masks, runs) < 2:
            continue
        of_masks, of_runs, of_rest = mean_squares(block)
        found = ((of_masks - of_rest) / runs, (of_runs - of_rest) / masks, of_rest)
        free = np.array([masks - 1, runs - 1, (masks - 1) * (runs - 1)])
        sums += free * found
        weights += free
    return Components(*np.maximum(sums / weights, 0).tolist()) if weights.all() else None


def masks_needed(found: Components, runs: int, points: float) -> int | None:
    """Return the fewest mask seeds that see a difference of so many points; None above 99."""
    enough = (masks for masks in range(2, 100) if detectable(found, masks, runs) <= points)
    return next(enough, None)


def detectable(found: Components, masks: int, runs: int) -> float:
    """Return the difference in points that is seen with p < 0.05, two-sided, with a
    probability of 80 %."""
    squares = (
        found.rest + runs * found.masks,
        found.rest + masks * found.runs,
        found.rest,
    )
    variance, freedom = satterthwaite(squares, masks, runs)
    reach = special.stdtrit(freedom, 0.975) + special.stdtrit(freedom, 0.8)
    return float(reach * variance**0.5)


def power(runs: pl.DataFrame, masks: int, seeds: int, points: float = 1.0) -> pl.DataFrame:
    """Return a row for each (model, sparsity, task) of `averages.runs` with two seeds of both
    kinds.

    `masks`, `runs`, `rest`: standard deviations of a difference of two methods, in points, pooled
    over all two that have mask seeds. `sees`: the difference that `masks` × `seeds` runs see with
    a probability of 80 %. `masks with … runs`: mask seeds that it takes to see `points`.
    """
    rows: list[dict[str, object]] = []
    chosen = runs.filter((pl.col("method") != DENSE) & pl.col("mask_seed").is_not_null())
    for (model, sparsity, task), each in chosen.group_by(
        "model", "sparsity", "task", maintain_order=True
    ):
        methods = [cells(part) for _, part in each.group_by("method", maintain_order=True)]
        found = components(paired(b, a) for a, b in combinations(methods, 2))
        if found is None:
            continue
        row: dict[str, object] = {"model": model, "sparsity": sparsity, "task": task}
        row |= {name: variance**0.5 for name, variance in found._asdict().items()}
        row["sees"] = detectable(found, masks, seeds) if min(masks, seeds) > 1 else None
        row |= {f"masks with {n} runs": masks_needed(found, n, points) for n in (2, 3, 5, 10)}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)
