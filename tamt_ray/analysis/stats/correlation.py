"""Does a lower pre-training loss mean a better subnetwork? (Fig. 5, 12, 13)"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamt_ray.analysis.results import SUBNETWORK, Results, by_cell
from tamt_ray.analysis.stats.averages import runs
from tamt_ray.analysis.stats.effect import LEVEL, SEED, Array
from tamt_ray.plan.expand import DENSE

Statistic = Literal["pearson", "spearman", "kendall"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
LOSSES = ("mlm_loss", "kd_loss")
_DRAWS = 1000
LEAST_GROUPS = 4
"""Resamples of fewer groups of like subnetworks say nothing about a correlation."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """A coefficient with its bootstrap 95 % interval; None with the `reason` where undefined.

    Without an interval only where there are fewer than `LEAST_GROUPS` groups to resample.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


def correlate(
    x: Array,
    y: Array,
    rng: np.random.Generator,
    draws: int = _DRAWS,
    groups: NDArray[np.intp] | None = None,
) -> dict[Statistic, Correlation]:
    """Pearson's r, Spearman's ρ and Kendall's τ-b of points x, y [n].

    The interval resamples whole `groups` [n], numbered from 0, with replacement; None: each point
    is one. Resamples in which x or y is constant have no coefficient and are left out. Fewer than
    three points, or a constant coordinate, give None.
    """
    reason = _undefined(x, y)
    if reason:
        return dict.fromkeys(STATISTICS, Correlation(None, None, None, reason))
    groups = np.arange(len(x)) if groups is None else groups
    number = int(groups.max()) + 1
    drawn = rng.multinomial(number, [1 / number] * number, draws)
    # The first row, each group once, gives the coefficient itself.
    counts = np.vstack([np.ones(number), drawn])[:, groups].astype(np.float64)
    tied_x, at_x = _by_value(counts, x)
    tied_y, at_y = _by_value(counts, y)
    total = counts.sum(axis=1)
    usable = (tied_x.max(axis=1) < total) & (tied_y.max(axis=1) < total)
    counts, tied_x, tied_y = counts[usable], tied_x[usable], tied_y[usable]
    total = total[usable]
    concordance = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    untied = (total**2 - (tied_x**2).sum(axis=1)) * (total**2 - (tied_y**2).sum(axis=1))
    # Small whole numbers, which single precision holds exactly in half the time.
    agreeing = counts.astype(np.float32) @ concordance.astype(np.float32)
    found: dict[Statistic, Array] = {
        "pearson": _pearson(counts, x, y),
        "spearman": _spearman(counts, _ranks(tied_x)[:, at_x], _ranks(tied_y)[:, at_y]),
        "kendall": np.einsum("dn,dn->d", agreeing, counts) / np.sqrt(untied),
    }
    if number < LEAST_GROUPS:
        return {name: Correlation(float(values[0]), None, None) for name, values in found.items()}
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    intervals = {name: np.quantile(values[1:], ends) for name, values in found.items()}
    return {
        name: Correlation(float(values[0]), float(intervals[name][0]), float(intervals[name][1]))
        for name, values in found.items()
    }


def points(results: Results) -> pl.DataFrame:
    """Return a row for each subnetwork and task (and their average): score in percent, both losses.

    The score is the mean over the fine-tuning seeds present, `runs` of `runs_expected`;
    `baseline`: that of the best constant answer, null where it is not known. A
    subnetwork that two methods share (the first IMP level is OMP) is one point, not two.
    Checkpoints are points of their own.
    """
    scores = (
        runs(results.downstream, by="checkpoint")
        .group_by(*SUBNETWORK, "task", maintain_order=True)
        .agg(
            score=pl.col("score").mean(),
            baseline=pl.col("baseline").max(),
            runs=pl.col("score").count().cast(pl.Int64),
            runs_expected=pl.len().cast(pl.Int64),
        )
    )
    table = results.pretrain.join(
        scores, on=SUBNETWORK, how="inner", nulls_equal=True, maintain_order="left_right"
    )
    return table.unique(["model", "task", "unit"], keep="first", maintain_order=True)


def correlations(
    points: pl.DataFrame,
    rng: np.random.Generator | None = None,
    draws: int = _DRAWS,
    random: Collection[str] = (),
) -> pl.DataFrame:
    """Return a row for each (model, task, loss, scope, statistic) with value, low, high, n, reason.

    Scopes: "all" (every sparsity and the dense model, as in the paper's figure), "subnetworks"
    (every sparsity), "sparsity" (each alone, in the column `sparsity`) and "chosen" (the same
    without the methods called `random`, whose masks lie far from all others). `n` of `n_expected`
    points have both values, `n_partial` of them lack some runs. The masks of one method at one
    sparsity, with all seeds and checkpoints, are alike and would pass for more evidence than they
    are: the intervals resample them as one.
    """
    rng = rng or np.random.default_rng(SEED)
    dense = pl.col("method") == DENSE
    sparsities: list[float] = points.filter(~dense)["sparsity"].unique().sort().to_list()
    scopes: list[tuple[str, float | None, pl.Expr]] = [("all", None, pl.lit(True))]
    if len(sparsities) > 1:
        scopes.append(("subnetworks", None, ~dense))
    scopes += [("sparsity", s, ~dense & (pl.col("sparsity") == s)) for s in sparsities]
    if random:
        chosen = ~dense & ~pl.col("method").is_in(list(random))
        scopes += [("chosen", s, chosen & (pl.col("sparsity") == s)) for s in sparsities]
    rows: list[dict[str, object]] = []
    for cell, group in by_cell(points, "model", "task"):
        for scope, sparsity, condition in scopes:
            chosen = group.filter(condition)
            for loss in LOSSES:
                complete = chosen.drop_nulls(["score", loss])
                partial = complete.filter(pl.col("runs") < pl.col("runs_expected"))
                x, y = complete[loss].to_numpy(), complete["score"].to_numpy()
                for statistic, found in correlate(x, y, rng, draws, alike(complete)).items():
                    rows.append(
                        {
                            "model": cell.model, "task": cell.task, "loss": loss, "scope": scope,
                            "sparsity": sparsity, "statistic": statistic, "value": found.value,
                            "low": found.low, "high": found.high, "n": len(complete),
                            "n_expected": len(chosen), "n_partial": len(partial),
                            "reason": found.reason,
                        }
                    )  # fmt: skip
    texts = dict.fromkeys(["model", "task", "loss", "scope"], pl.String)
    schema = {
        **texts, "sparsity": pl.Float64, "statistic": pl.String, "value": pl.Float64,
        "low": pl.Float64, "high": pl.Float64, "n": pl.Int64, "n_expected": pl.Int64,
        "n_partial": pl.Int64, "reason": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def alike(points: pl.DataFrame) -> NDArray[np.intp]:
    """Return the group of each point [n], numbered from 0: its method at its sparsity."""
    names = points.select(pl.format("{} {}", "method", "sparsity")).to_series()
    return np.unique(names.to_numpy(), return_inverse=True)[1]


def _undefined(x: Array, y: Array) -> str | None:
    if len(x) < 3:
        return f"{len(x)} of at least 3 points"
    for name, values in (("loss", x), ("score", y)):
        if np.ptp(values) <= 1e-12 * np.abs(values).max():
            return f"the {name} is the same everywhere"
    return None


def _by_value(counts: Array, values: Array) -> tuple[Array, NDArray[np.intp]]:
    """Draws of each distinct value, rising [draws, distinct], and the place of each point."""
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) == len(values):
        return counts[:, np.argsort(values)], place
    return counts @ np.eye(len(distinct))[place], place


def _ranks(drawn: Array) -> Array:
    """Mean rank of each distinct value in each resample [draws, distinct]."""
    return drawn.cumsum(axis=1) - (drawn - 1) / 2


def _pearson(counts: Array, x: Array, y: Array) -> Array:
    """r of each resample [draws] of points x, y [n]."""
    x, y, n = x - x.mean(), y - y.mean(), counts.sum(axis=1)
    sum_x, sum_y, xy, xx, yy = (counts @ np.stack([x, y, x * y, x * x, y * y], axis=1)).T
    covariance = xy - sum_x * sum_y / n
    spread = (xx - sum_x**2 / n) * (yy - sum_y**2 / n)
    return np.clip(covariance / np.sqrt(spread), -1, 1)


def _spearman(counts: Array, x: Array, y: Array) -> Array:
    """ρ of each resample [draws], of ranks x, y [draws, n] of its own."""
    # Whatever n points are drawn, their ranks have the mean (n + 1) / 2.
    middle = (counts.sum(axis=1, keepdims=True) + 1) / 2
    x, y = x - middle, y - middle
    of_x = counts * x
    covariance = np.einsum("dn,dn->d", of_x, y)
    spread = np.einsum("dn,dn->d", of_x, x) * np.einsum("dn,dn,dn->d", counts, y, y)
    return np.clip(covariance / np.sqrt(spread), -1, 1)
