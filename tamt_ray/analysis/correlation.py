"""Does a lower pre-training loss mean a better subnetwork? (PAPER §5, Fig. 5, 12, 13)"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamt_ray.analysis.averages import runs
from tamt_ray.analysis.bootstrap import SEED, Array, percentile_interval
from tamt_ray.analysis.results import Results
from tamt_ray.plan.expand import DENSE

Statistic = Literal["pearson", "spearman", "kendall"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
LOSSES = ("mlm_loss", "kd_loss")
DRAWS = 1000
_SUBNETWORK = ["model", "method", "sparsity", "mask_seed"]


@dataclass(frozen=True, slots=True)
class Correlation:
    """A coefficient with its bootstrap 95 % interval; None with the `reason` where undefined."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


def correlate(
    x: Array, y: Array, rng: np.random.Generator, draws: int = DRAWS
) -> dict[Statistic, Correlation]:
    """Pearson's r, Spearman's ρ and Kendall's τ-b of points x, y [n].

    The interval resamples points with replacement; resamples in which x or y is constant have no
    coefficient and are left out. Fewer than three points, or a constant coordinate, give None.
    """
    reason = _undefined(x, y)
    if reason:
        return dict.fromkeys(STATISTICS, Correlation(None, None, None, reason))
    n = len(x)
    # The first row, each point once, gives the coefficient itself.
    counts = np.ones((draws + 1, n))
    drawn = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    counts[1:] = np.bincount(drawn.ravel(), minlength=draws * n).reshape(draws, n)
    tied_x, at_x = _by_value(counts, x)
    tied_y, at_y = _by_value(counts, y)
    usable = (tied_x.max(axis=1) < n) & (tied_y.max(axis=1) < n)
    counts, tied_x, tied_y = counts[usable], tied_x[usable], tied_y[usable]
    concordance = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    untied = (n**2 - (tied_x**2).sum(axis=1)) * (n**2 - (tied_y**2).sum(axis=1))
    found: dict[Statistic, Array] = {
        "pearson": _pearson(counts, x, y),
        "spearman": _pearson(counts, _ranks(tied_x)[:, at_x], _ranks(tied_y)[:, at_y]),
        "kendall": ((counts @ concordance) * counts).sum(axis=1) / np.sqrt(untied),
    }
    return {
        name: Correlation(float(values[0]), *percentile_interval(values[1:]))
        for name, values in found.items()
    }


def points(results: Results) -> pl.DataFrame:
    """A row for each subnetwork and task (and their average): score in percent, both losses.

    The score is the mean over the fine-tuning seeds present, `runs` of `runs_expected`. A
    subnetwork that two methods share (the first IMP level is OMP) is one point, not two.
    """
    scores = (
        runs(results.downstream)
        .group_by(*_SUBNETWORK, "task", maintain_order=True)
        .agg(
            score=pl.col("score").mean(),
            runs=pl.col("score").count().cast(pl.Int64),
            runs_expected=pl.len().cast(pl.Int64),
        )
    )
    table = results.pretrain.join(
        scores, on=_SUBNETWORK, how="inner", nulls_equal=True, maintain_order="left_right"
    )
    return table.unique(["model", "task", "unit"], keep="first", maintain_order=True)


def correlations(
    points: pl.DataFrame, rng: np.random.Generator | None = None, draws: int = DRAWS
) -> pl.DataFrame:
    """A row for each (model, task, loss, scope, statistic) with value, low, high, n, reason.

    Scopes: "all" (every sparsity and the dense model, as in the paper's figure), "subnetworks"
    (every sparsity), and each sparsity alone, in the column `sparsity`. `n` of `n_expected`
    points have both values, `n_partial` of them lack some runs. Points of one method are alike,
    so the intervals are if anything too narrow.
    """
    rng = rng or np.random.default_rng(SEED)
    dense = pl.col("method") == DENSE
    sparsities: list[float] = points.filter(~dense)["sparsity"].unique().sort().to_list()
    scopes: list[tuple[str, float | None, pl.Expr]] = [("all", None, pl.lit(True))]
    if len(sparsities) > 1:
        scopes.append(("subnetworks", None, ~dense))
    scopes += [("sparsity", s, ~dense & (pl.col("sparsity") == s)) for s in sparsities]
    rows: list[dict[str, object]] = []
    for (model, task), group in points.group_by("model", "task", maintain_order=True):
        for scope, sparsity, condition in scopes:
            chosen = group.filter(condition)
            for loss in LOSSES:
                complete = chosen.drop_nulls(["score", loss])
                partial = complete.filter(pl.col("runs") < pl.col("runs_expected"))
                x, y = complete[loss].to_numpy(), complete["score"].to_numpy()
                for statistic, found in correlate(x, y, rng, draws).items():
                    rows.append(
                        {
                            "model": model, "task": task, "loss": loss, "scope": scope,
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
    """r of each resample [draws]; x, y: [n] or [draws, n]."""
    total = counts.sum(axis=1, keepdims=True)
    dx = x - (counts * x).sum(axis=1, keepdims=True) / total
    dy = y - (counts * y).sum(axis=1, keepdims=True) / total
    covariance = (counts * dx * dy).sum(axis=1)
    spread = (counts * dx**2).sum(axis=1) * (counts * dy**2).sum(axis=1)
    return np.clip(covariance / np.sqrt(spread), -1, 1)
