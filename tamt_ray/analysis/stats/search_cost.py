"""Search cost of TAMT until it reaches IMP's best score (Fig. 6, 14–16)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from tamt_ray.analysis.results import by_cell, main_rows
from tamt_ray.analysis.stats.averages import FIVE
from tamt_ray.analysis.stats.effect import LEVEL, SEED, Array
from tamt_ray.plan.unit import Cell

_KEYS = ("model", "sparsity", "method")
_SCHEMA = {
    "model": pl.String, "sparsity": pl.Float64, "method": pl.String, "imp": pl.String,
    "tasks": pl.String, "target": pl.Float64, "imp_iterations": pl.Float64,
    "imp_seconds": pl.Float64, "iterations": pl.Float64, "seconds": pl.Float64,
    "at_first": pl.Boolean, "iterations_ratio": pl.Float64, "iterations_low": pl.Float64,
    "iterations_high": pl.Float64, "seconds_ratio": pl.Float64, "seconds_low": pl.Float64,
    "seconds_high": pl.Float64, "reached": pl.Float64, "device": pl.String,
}  # fmt: skip
_DRAWS = 2000
_NEVER = 0.025
"""Share of resamples that may miss the target before there is no interval any more."""


@dataclass(frozen=True)
class Curve:
    """One method at one sparsity, a point for each number of iterations, rising.

    `scores` [points, masks, runs] in percent, NaN where a run is missing; `iterations` [points];
    `seconds` [points, masks] of training.
    """

    iterations: Array
    seconds: Array
    scores: Array


@dataclass(frozen=True)
class Saving:
    """Cost at which TAMT reaches IMP's best score; None where it does not get there.

    `iterations` and `seconds` by linear interpolation between the points before and behind;
    `at_first`: the first point is there already, so they are at most these and the ratios at
    least. A ratio is IMP's cost at its best over TAMT's, with its 95 % interval; no interval where
    more than 2.5 % of the resamples never `reached` the score. With one mask seed or one
    fine-tuning seed there is neither an interval nor a share of resamples.
    """

    target: float
    imp: tuple[float, float]
    found: tuple[float, float] | None
    at_first: bool
    ratios: tuple[float, float] | None
    intervals: tuple[tuple[float, float], tuple[float, float]] | None
    reached: float | None


def saving(imp: Curve, tamt: Curve, level: float = LEVEL) -> Saving:
    """Iterations and seconds at which the mean curve of `tamt` first reaches the best of `imp`.

    Both curves are resampled together: mask seeds with replacement, and fine-tuning seeds. Three
    seeds give a bootstrap too little spread, so the interval is that of the logarithm of the
    ratio, with the standard deviation of the resamples widened by n / (n − 1) and Student's t, n
    the smallest number of seeds that a curve has. Two seeds that agree have none.
    """
    masks, runs = imp.scores.shape[1:]
    rng = np.random.default_rng(SEED)
    of_masks, of_runs = _counts(masks, rng, _DRAWS), _counts(runs, rng, _DRAWS)
    scores = _means(imp.scores, of_masks, of_runs)
    best = np.nanargmax(np.where(np.isnan(scores), -np.inf, scores), axis=1)
    rows = np.arange(len(best))
    target = scores[rows, best]
    cost = np.stack([imp.iterations[best], _seconds(imp.seconds, of_masks)[rows, best]], axis=1)
    place = _crossing(_means(tamt.scores, of_masks, of_runs), target)
    iterations = np.broadcast_to(tamt.iterations, (len(rows), len(tamt.iterations)))
    seconds = _seconds(tamt.seconds, of_masks)
    ours = np.stack([_at(iterations, place), _at(seconds, place)], axis=1)
    usable = ~np.isnan(target[1:])
    reached = float((~np.isnan(place[1:][usable])).mean()) if usable.any() else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(cost / ours)
    there, seeds = bool(~np.isnan(place[0])), _least_seeds(imp, tamt)
    return Saving(
        target=float(target[0]),
        imp=(float(cost[0, 0]), float(cost[0, 1])),
        found=(float(ours[0, 0]), float(ours[0, 1])) if there else None,
        at_first=bool(place[0] == 0),
        ratios=(float(np.exp(logs[0, 0])), float(np.exp(logs[0, 1]))) if there else None,
        intervals=_intervals(logs, seeds, level) if there and reached >= 1 - _NEVER else None,
        reached=reached if seeds > 1 else None,
    )


def search_costs(
    downstream: pl.DataFrame, pairs: Sequence[tuple[str, str]], level: float = LEVEL
) -> pl.DataFrame:
    """Return a row for each (model, sparsity) and (imp, tamt) of `pairs`: the `saving`.

    The score is the mean over `tasks`: those that checkpoints were fine-tuned on. `device`: of
    both searches, several joined by " / ", where seconds do not compare.
    """
    tasks = cost_tasks(downstream)
    curves, devices = _curves(downstream.filter(pl.col("task").is_in(tasks)), len(tasks))
    rows: list[tuple[object, ...]] = []
    for place in dict.fromkeys(replace(cell, method="") for cell in curves):
        for imp, tamt in pairs:
            here, there = replace(place, method=tamt), replace(place, method=imp)
            ours, theirs = curves.get(here), curves.get(there)
            if ours is None or theirs is None:
                continue
            found = saving(theirs, ours, level)
            ratios = found.ratios or (None, None)
            intervals = found.intervals or ((None, None), (None, None))
            both = devices[here] | devices[there]
            row = (
                place.model, place.sparsity, tamt, imp, ", ".join(tasks), found.target,
                *found.imp, *(found.found or (None, None)), found.at_first, ratios[0],
                *intervals[0], ratios[1], *intervals[1], found.reached, " / ".join(sorted(both)),
            )  # fmt: skip
            rows.append(row)
    table = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


def cost_tasks(downstream: pl.DataFrame) -> list[str]:
    """Return the tasks of fine-tuned checkpoints; only the paper's five where all are there."""
    whole = main_rows(downstream, ["checkpoint"])
    some = whole.filter(pl.col("checkpoint").is_not_null())
    if set(FIVE) <= set(some["role"]):
        some = some.filter(pl.col("role").is_in(FIVE))
    return some["task"].unique(maintain_order=True).to_list()


def _curves(downstream: pl.DataFrame, tasks: int) -> tuple[dict[Cell, Curve], dict[Cell, set[str]]]:
    """Return the curve of each trained method, of runs in which every task is present; and its
    devices."""
    labels = [*_KEYS, "checkpoint", "iterations", "mask_seed", "seed"]
    found = (
        main_rows(downstream, ["checkpoint"])
        .filter((pl.col("iterations") > 0) & pl.col("mask_seed").is_not_null())
        .group_by(labels, maintain_order=True)
        .agg(
            score=pl.when(pl.col("best").count() == tasks).then(pl.col("best").mean() * 100),
            seconds=pl.col("search_seconds").first(),
            device=pl.col("device").first(),
        )
        .drop_nulls("score")
    )
    masks = found["mask_seed"].unique().sort().to_list()
    runs = found["seed"].unique().sort().to_list()
    curves: dict[Cell, Curve] = {}
    devices: dict[Cell, set[str]] = {}
    for key, group in by_cell(found, *_KEYS):
        iterations = group["iterations"].unique().sort().to_list()
        scores = np.full((len(iterations), len(masks), len(runs)), np.nan)
        seconds = np.full(scores.shape[:2], np.nan)
        columns = group.select("iterations", "mask_seed", "seed", "score", "seconds")
        for steps, mask, run, score, spent in columns.iter_rows():
            point, row = iterations.index(steps), masks.index(mask)
            scores[point, row, runs.index(run)] = score
            seconds[point, row] = np.nan if spent is None else spent
        curves[key] = Curve(np.array(iterations, dtype=np.float64), seconds, scores)
        devices[key] = set(group["device"].drop_nulls())
    return curves, devices


def _counts(seeds: int, rng: np.random.Generator, draws: int) -> Array:
    """Return the draws of each seed [draws + 1, seeds]; one of each in the first row."""
    drawn = rng.multinomial(seeds, [1 / seeds] * seeds, draws)
    return np.vstack([np.ones(seeds), drawn]).astype(np.float64)


def _means(scores: Array, masks: Array, runs: Array) -> Array:
    """Mean score of each point in each resample [draws, points]; NaN without a run."""
    present = ~np.isnan(scores)
    total = np.einsum("dm,dr,pmr->dp", masks, runs, np.nan_to_num(scores), optimize=True)
    count = np.einsum("dm,dr,pmr->dp", masks, runs, present.astype(np.float64), optimize=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _seconds(seconds: Array, masks: Array) -> Array:
    """Mean seconds of each point in each resample [draws, points]; NaN where not measured."""
    count = masks @ (~np.isnan(seconds)).T.astype(np.float64)
    return np.where(count > 0, masks @ np.nan_to_num(seconds).T / np.maximum(count, 1), np.nan)


def _crossing(curve: Array, target: Array) -> Array:
    """Return the point at which each curve [draws, points] first meets its target; or NaN."""
    place = np.full(len(curve), np.nan)
    for point in range(curve.shape[1]):
        there = np.isnan(place) & (curve[:, point] >= target)
        if point == 0:
            place[there] = 0.0
            continue
        before, here = curve[there, point - 1], curve[there, point]
        share = (target[there] - before) / (here - before)
        # A point that the resample left empty cannot be interpolated from.
        place[there] = point - 1 + np.where(np.isnan(share), 1.0, share)
    return place


def _at(values: NDArray[np.float64], place: Array) -> Array:
    """`values` [draws, points] at a fractional point; NaN stays NaN."""
    known = np.nan_to_num(place)
    low = np.floor(known).astype(np.int64)
    high = np.minimum(low + 1, values.shape[1] - 1)
    rows = np.arange(len(values))
    found = values[rows, low] + (known - low) * (values[rows, high] - values[rows, low])
    return np.where(np.isnan(place), np.nan, found)


def _least_seeds(*curves: Curve) -> int:
    """Return the smallest number of mask or fine-tuning seeds that a curve has runs of."""
    there = [~np.isnan(curve.scores) for curve in curves]
    return min(int(runs.any(axis=axes).sum()) for runs in there for axes in ((0, 2), (0, 1)))


def _intervals(
    logs: Array, n: int, level: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    spreads = [float(np.nanstd(d)) if not np.isnan(d).all() else np.nan for d in logs[1:].T]
    # That two seeds agree to the last digit is no certainty.
    if n < 2 or (n == 2 and min(spreads) < 1e-12):
        return None
    reach = float(stats.t.ppf((1 + level) / 2, n - 1)) * (n / (n - 1)) ** 0.5
    low, high = (np.exp(logs[0] + sign * reach * np.array(spreads)) for sign in (-1, 1))
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))
