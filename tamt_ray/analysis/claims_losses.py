"""The paper's statements about pre-training losses and what they foretell (PAPER §5, Fig. 5)."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tamt_ray.analysis.bootstrap import SEED, Array, percentile_interval
from tamt_ray.analysis.effect import Effect
from tamt_ray.analysis.evidence import Evidence
from tamt_ray.analysis.verdict import Finding, everywhere, percent, shown, undecidable

_NAMES = {"mlm_loss": "MLM", "kd_loss": "KD"}
_DRAWS = 1000
_CLUSTERS = 4
"""Fewer groups of like subnetworks than this tell nothing about a correlation."""
_STRONG = 0.5
"""|ρ| below which two things count as hardly related."""


def mlm_training_lowers_kd(evidence: Evidence) -> Finding:
    """TAMT-MLM has a lower KD loss than OMP, where it starts."""
    return _lowers("kd_loss", "tamt_mlm", evidence)


def kd_training_lowers_mlm(evidence: Evidence) -> Finding:
    """TAMT-KD has a lower MLM loss than OMP, where it starts."""
    return _lowers("mlm_loss", "tamt_kd", evidence)


def mlm_loss_foretells_score(evidence: Evidence) -> Finding:
    """At a sparsity, a lower MLM loss goes with a higher score."""
    return _foretells("mlm_loss", evidence)


def kd_loss_foretells_score(evidence: Evidence) -> Finding:
    """At a sparsity, a lower KD loss goes with a higher score."""
    return _foretells("kd_loss", evidence)


def no_correlation_at_fifty(evidence: Evidence) -> Finding:
    """At 50 %, without random pruning, neither loss goes with the score.

    That nothing is there cannot be shown. Supported: both intervals of Spearman's ρ lie within
    ±0.5; contradicted: else, where one lies below 0, a lower loss going with a better score.
    """
    here = evidence.points.filter(
        (pl.col("sparsity") == 0.5) & (pl.col("method") != evidence.roles.get("random", ""))
    )
    found = {loss: rank_correlation(here, loss, ["method"]) for loss in _NAMES}
    if all(effect is None for effect in found.values()):
        return undecidable(f"fewer than {_CLUSTERS} methods other than random at 50 %")
    value = "; ".join(shown(e, _NAMES[loss], "", 2) for loss, e in found.items())
    ends = [(e.low, e.high) if e else (None, None) for e in found.values()]
    if all(
        low is not None and high is not None and low >= -_STRONG and high <= _STRONG
        for low, high in ends
    ):
        return Finding("supported", value)
    if any(high is not None and high < 0 for _, high in ends):
        return Finding("contradicted", value)
    return Finding("not decidable", value, "an interval holds 0 and reaches beyond ±0.5")


def omp_worse_loss_better_score(evidence: Evidence) -> Finding:
    """At 60–80 % OMP has a higher MLM loss than random pruning, and yet a higher score."""
    at = (0.6, 0.7, 0.8)
    here = [s for s in at if s in evidence.sparsities("omp", "random")]
    effects: dict[str, Effect | None] = {}
    for s in here:
        loss = evidence.loss_contrast("mlm_loss", "omp", "random", s)
        effects[f"loss, {percent(s)}"] = loss
        effects[f"score, {percent(s)}"] = evidence.contrast("omp", "random", s)
    return everywhere(effects, lacking=[percent(s) for s in at if s not in here], digits=2)


def rank_correlation(points: pl.DataFrame, loss: str, by: Sequence[str]) -> Effect | None:
    """Spearman's ρ of loss and score, with a 95 % interval; None with too few groups.

    Whole groups are resampled, for points of one group (a method at a sparsity, with all its
    seeds and checkpoints) are alike and would pass for more evidence than they are.
    """
    groups = points.drop_nulls([loss, "score"]).partition_by(by, maintain_order=True)
    if len(groups) < _CLUSTERS:
        return None
    whole = pl.concat(groups)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(groups), [1 / len(groups)] * len(groups), _DRAWS)
    # The first row, each group once, gives the coefficient itself.
    times = np.vstack([np.ones(len(groups)), drawn]).astype(np.float64)
    counts = np.repeat(times, [len(group) for group in groups], axis=1)
    found = _spearman(counts, whole[loss].to_numpy(), whole["score"].to_numpy())
    if np.isnan(found[0]):
        return None
    low, high = percentile_interval(found[1:][~np.isnan(found[1:])])
    return Effect(float(found[0]), low, high, None, len(groups), 1)


def _spearman(counts: Array, x: Array, y: Array) -> Array:
    """ρ of resamples that draw point i counts[:, i] times [draws]; NaN where x or y is constant."""
    total = counts.sum(axis=1, keepdims=True)
    of_x, of_y = (
        ranks - (counts * ranks).sum(axis=1, keepdims=True) / total
        for ranks in (_ranks(counts, x), _ranks(counts, y))
    )
    spread = (counts * of_x**2).sum(axis=1) * (counts * of_y**2).sum(axis=1)
    covariance = (counts * of_x * of_y).sum(axis=1)
    return np.where(spread > 1e-9, covariance / np.sqrt(np.maximum(spread, 1e-9)), np.nan)


def _ranks(counts: Array, values: Array) -> Array:
    """Mean rank of each point in each resample [draws, points]."""
    distinct, place = np.unique(values, return_inverse=True)
    drawn = counts @ np.eye(len(distinct))[place]
    return (drawn.cumsum(axis=1) - (drawn - 1) / 2)[:, place]


def _lowers(loss: str, role: str, evidence: Evidence) -> Finding:
    absent = [name for name in ("omp", role) if name not in evidence.roles]
    if absent:
        return undecidable(f"the sweep has no {' and no '.join(absent)}")
    rows = evidence.losses.drop_nulls(loss)
    at = [
        set(rows.filter(pl.col("method") == evidence.roles[name])["sparsity"])
        for name in ("omp", role)
    ]
    return everywhere(
        {
            percent(s): evidence.loss_contrast(loss, "omp", role, s)
            for s in sorted(set.intersection(*at))
        },
        digits=3,
    )


def _foretells(loss: str, evidence: Evidence) -> Finding:
    pruned = evidence.points.filter(pl.col("sparsity") > 0).drop_nulls([loss, "score"])
    # Both follow the sparsity, so that over all of them they would go together in any case.
    within = pruned.with_columns(
        (pl.col(name).rank() / (pl.len() + 1)).over("sparsity") for name in (loss, "score")
    )
    found = rank_correlation(within, loss, ["method", "sparsity"])
    if found is None or found.low is None or found.high is None:
        return undecidable(f"fewer than {_CLUSTERS} groups of subnetworks with loss and score")
    value = f"ρ = {shown(found, '', '', 2, sign=False)}"
    if found.high < 0:
        return Finding("supported", value)
    if found.low > 0:
        return Finding("contradicted", value)
    return Finding("not decidable", value, "the interval holds 0")
