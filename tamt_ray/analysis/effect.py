"""Is one thing larger than another? An effect, its interval and its p value.

The unit of evidence is a paired difference d[mask, run]: two methods under the same mask seed and
the same fine-tuning seed, which share the order of the data and the first classifier. Masks and
runs both vary, and each run seed meets each mask, so the mean of d has the variance of a crossed
design with two random factors. It is taken from the mean squares of masks, runs and the rest
(what resampling masks, then runs, gives with endless draws) and used with Student's t and
Satterthwaite's degrees of freedom. The percentile bootstrap, which describes single numbers well
enough, is no test here: with three masks it finds a difference that is not there in 12 to 30 of
100 tries, this in at most 8 (tests/analysis/test_effect.py). Tasks are the benchmark itself and
are not resampled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from tamt_ray.analysis.bootstrap import Array

Cells = Mapping[tuple[int | None, int | None], float]
"""A value for each (mask seed, fine-tuning seed); None where there is no such seed."""

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean difference. `low`, `high` and `p` (two-sided, against 0) are None below two runs, and
    where all differ by the same amount."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    masks: int = 1
    runs: int = 1

    @property
    def positive(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low is not None and self.low > 0


def paired(first: Cells, second: Cells, scale: float = 1.0) -> Array:
    """first − scale × second [masks, runs], rising by seed; NaN where either is missing.

    A method with a single mask (OMP, the dense model), whose mask seed is None, is compared with
    every mask of the other; so is a value without runs (a loss) with every run.
    """
    masks = _shared(first, second, 0)
    runs = _shared(first, second, 1)
    found = np.full((len(masks), len(runs)), np.nan)
    for row, mask in enumerate(masks):
        for column, run in enumerate(runs):
            a, b = _at(first, mask, run), _at(second, mask, run)
            if a is not None and b is not None:
                found[row, column] = a - scale * b
    return found


def effect(differences: Array, level: float = LEVEL) -> Effect | None:
    """The mean of d [masks, runs] with its interval; None without a complete mask.

    A mask that lacks a run which another mask has is left out, so that no run counts more than
    another; of a single mask the missing runs are.
    """
    d = differences[:, ~np.isnan(differences).all(axis=0)]
    d = d[:, ~np.isnan(d[0])] if len(d) == 1 else d[~np.isnan(d).any(axis=1)]
    masks, runs = d.shape
    if d.size == 0:
        return None
    value = float(d.mean())
    if d.size == 1:
        return Effect(value)
    variance, freedom = _variance(d)
    if variance <= (1e-12 * float(np.abs(d).max())) ** 2:
        # Scores of a few hundred examples tie by their coarseness; that is no certainty.
        known = Effect(value, 0.0, 0.0, 1.0, masks, runs)
        return known if value == 0 else Effect(value, None, None, None, masks, runs)
    error = variance**0.5
    reach = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    p = 2 * float(special.stdtr(freedom, -abs(value) / error))
    return Effect(value, value - reach, value + reach, p, masks, runs)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for their number, in the same places (Holm 1979); None stays None."""
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = largest
    return adjusted


def _variance(d: Array) -> tuple[float, float]:
    """Variance of the mean, and its degrees of freedom."""
    masks, runs = d.shape
    of_masks = runs * float(np.var(d.mean(axis=1), ddof=1)) if masks > 1 else 0.0
    of_runs = masks * float(np.var(d.mean(axis=0), ddof=1)) if runs > 1 else 0.0
    if masks == 1 or runs == 1:
        return (of_masks + of_runs) / d.size, float(d.size - 1)
    rest = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0, keepdims=True) + d.mean()
    free = (masks - 1) * (runs - 1)
    of_rest = float((rest**2).sum()) / free
    total = of_masks + of_runs - of_rest
    if total <= max(of_masks, of_runs):
        # One of the two factors shows no variance of its own.
        return (
            (of_masks / d.size, masks - 1.0)
            if of_masks >= of_runs
            else (of_runs / d.size, runs - 1.0)
        )
    satterthwaite = total**2 / (
        of_masks**2 / (masks - 1) + of_runs**2 / (runs - 1) + of_rest**2 / free
    )
    return total / d.size, max(satterthwaite, min(masks, runs) - 1.0)


def _shared(first: Cells, second: Cells, axis: int) -> list[int | None]:
    """Seeds to compare under: those of both, or of the one that has seeds at all."""
    ours, theirs = ({key[axis] for key in cells} - {None} for cells in (first, second))
    both = ours & theirs if ours and theirs else ours | theirs
    if not ours and not theirs:
        return [None]
    return list[int | None](sorted(seed for seed in both if seed is not None))


def _at(cells: Cells, mask: int | None, run: int | None) -> float | None:
    for key in ((mask, run), (None, run), (mask, None), (None, None)):
        if key in cells:
            return cells[key]
    return None
