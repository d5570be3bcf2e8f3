"""Means and differences with intervals that cover what they say.

Mask seeds and fine-tuning seeds are two crossed random factors: each fine-tuning seed meets each
mask. The variance of a mean over both is taken from the mean squares of masks, runs and the rest
and used with Student's t and Satterthwaite's degrees of freedom. A factor with a single seed says
nothing about how it varies, so there is neither an interval nor a p value then. A factor that does
not exist (OMP has one mask by definition, a loss has no fine-tuning seed) needs none.

Differences are paired by both seeds, since methods share the order of the data and the first
classifier. Tasks are the benchmark itself and are not resampled. `docs/paper.md` has the measured
coverage; tests/analysis/test_coverage.py repeats it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
Cells = Mapping[tuple[int | None, int | None], float]
"""A value for each (mask seed, fine-tuning seed); None where there is no such seed."""

LEVEL, ALPHA = 0.95, 0.05
"""Confidence level of every interval; p values below ALPHA count."""
SEED = 20220421
"""Seed of every resampling in a report, so that the same records give the same bytes."""


class Design(NamedTuple):
    """Values [masks, runs], NaN where one is missing, and which of the two axes are seeds."""

    values: Array
    masks: bool = True
    runs: bool = True


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean, its interval, and the two-sided p value against 0.

    `low`, `high` and `p` are None where seeds cannot tell; `reason` then says why.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    masks: int = 1
    runs: int = 1
    reason: str = ""

    @property
    def positive(self) -> bool:
        """Return whether the interval lies above 0."""
        return self.low is not None and self.low > 0


def design(cells: Cells) -> Design:
    """Return the values of one method as a table over its own seeds."""
    return paired(cells, {(None, None): 0.0})


def paired(first: Cells, second: Cells, scale: float = 1.0) -> Design:
    """first − scale × second over the seeds of both, rising; NaN where either is missing.

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
    return Design(found, masks != [None], runs != [None])


def minus(first: Cells, second: Cells) -> Cells:
    """first − second for each pair of seeds that both have."""
    return {seeds: first[seeds] - second[seeds] for seeds in first if seeds in second}


def effect(table: Design) -> Effect | None:
    """Return the mean over a complete block of `table` with its interval; None without a value.

    Where values are missing, the block is that of the most values among those with two seeds or
    more of each factor, so that no run counts more than another.
    """
    d = complete_block(table)
    if d.size == 0:
        return None
    value, (masks, runs) = float(d.mean()), d.shape
    reason = _unknown_variance(table, masks, runs)
    if reason:
        return Effect(value, masks=masks, runs=runs, reason=reason)
    variance, freedom = _variance(d)
    if variance <= (1e-12 * float(np.abs(d).max())) ** 2:
        # Scores of a few hundred examples tie by their coarseness; that is no certainty.
        p = 1.0 if value == 0 else None
        return Effect(value, None, None, p, masks, runs, "the same under all seeds")
    error = variance**0.5
    reach = float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * error
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


def _unknown_variance(table: Design, masks: int, runs: int) -> str:
    """Return the reason why the mean's variance cannot be estimated; empty where it can."""
    lonely = [
        words
        for exists, seeds, words in (
            (table.masks, masks, "one mask seed"), (table.runs, runs, "one fine-tuning seed"),
        )
        if exists and seeds == 1
    ]  # fmt: skip
    if not table.masks and not table.runs:
        return "a single value"
    return " and ".join(lonely)


def complete_block(table: Design) -> Array:
    """Return the largest block without gaps, among the runs that some mask has and all masks with
    them."""
    present = ~np.isnan(table.values)
    blocks: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    for row in present:
        columns = np.flatnonzero(row)
        blocks.append((np.flatnonzero(present[:, columns].all(axis=1)), columns))
    if not blocks:
        return table.values

    def worth(block: tuple[NDArray[np.intp], NDArray[np.intp]]) -> tuple[bool, int]:
        masks, runs = map(len, block)
        return not _unknown_variance(table, masks, runs), masks * runs

    return table.values[np.ix_(*max(blocks, key=worth))]


def mean_squares(d: Array) -> tuple[float, float, float]:
    """Mean squares of masks, of runs and of the rest of a table with two of each or more."""
    masks, runs = d.shape
    of_masks = runs * float(np.var(d.mean(axis=1), ddof=1))
    of_runs = masks * float(np.var(d.mean(axis=0), ddof=1))
    rest = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0, keepdims=True) + d.mean()
    return of_masks, of_runs, float((rest**2).sum()) / ((masks - 1) * (runs - 1))


def satterthwaite(
    squares: tuple[float, float, float], masks: int, runs: int
) -> tuple[float, float]:
    """Variance of the mean over masks and runs, and its degrees of freedom."""
    of_masks, of_runs, of_rest = squares
    total, size = of_masks + of_runs - of_rest, masks * runs
    if total <= max(of_masks, of_runs):
        # One of the two factors shows no variance of its own.
        return (
            (of_masks / size, masks - 1.0) if of_masks >= of_runs else (of_runs / size, runs - 1.0)
        )
    freedom = total**2 / (
        of_masks**2 / (masks - 1)
        + of_runs**2 / (runs - 1)
        + of_rest**2 / ((masks - 1) * (runs - 1))
    )
    return total / size, max(freedom, min(masks, runs) - 1.0)


def _variance(d: Array) -> tuple[float, float]:
    """Variance of the mean, and its degrees of freedom."""
    masks, runs = d.shape
    if masks == 1 or runs == 1:
        return float(np.var(d, ddof=1)) / d.size, float(d.size - 1)
    return satterthwaite(mean_squares(d), masks, runs)


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
