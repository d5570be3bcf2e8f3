"""The paper's statements about pre-training losses and what they foretell (Fig. 5)."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import Finding, everywhere, percent, shown, undecidable
from tamt_ray.analysis.stats.bootstrap import SEED
from tamt_ray.analysis.stats.correlation import LEAST_GROUPS, alike, correlate
from tamt_ray.analysis.stats.effect import Effect

_NAMES = {"mlm_loss": "MLM", "kd_loss": "KD"}
_FEW = 10
"""Points below which a correlation is marked."""
_COMPARED = ("random", "omp", "imp", "tamt_mlm", "tamt_kd")
"""The methods of Fig. 5."""
_FROM = 0.5
"""The smallest sparsity of Fig. 5."""


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


def tamt_mlm_has_lowest_mlm_loss(evidence: Evidence) -> Finding:
    """No other method of Fig. 5 has an MLM loss as low as TAMT-MLM's."""
    return _lowest("mlm_loss", "tamt_mlm", evidence)


def tamt_kd_has_lowest_kd_loss(evidence: Evidence) -> Finding:
    """No other method of Fig. 5 has a KD loss as low as TAMT-KD's."""
    return _lowest("kd_loss", "tamt_kd", evidence)


def imp_losses_below_omp(evidence: Evidence) -> Finding:
    """IMP has a lower MLM loss and a lower KD loss than OMP."""
    if absent := _absent(("omp", "imp"), evidence):
        return undecidable(absent)
    effects = {
        f"{words}, {percent(s)}": evidence.loss_contrast(loss, "omp", "imp", s)
        for loss, words in _NAMES.items()
        for s in _both(loss, "omp", "imp", evidence)
        if s >= _FROM
    }
    return everywhere(effects, digits=3)


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


def rank_correlation(points: pl.DataFrame, loss: str) -> Effect | None:
    """Spearman's ρ of loss and score, with a 95 % interval; None with too few groups.

    Groups of like subnetworks (`correlation.alike`) are resampled as one.
    """
    whole = points.drop_nulls([loss, "score"])
    groups = alike(whole)
    number = len(np.unique(groups))
    if number < LEAST_GROUPS:
        return None
    x, y = whole[loss].to_numpy(), whole["score"].to_numpy()
    found = correlate(x, y, np.random.default_rng(SEED), groups=groups)["spearman"]
    if found.value is None:
        return None
    return Effect(found.value, found.low, found.high, None, number, 1)


def _lowers(loss: str, role: str, evidence: Evidence) -> Finding:
    if absent := _absent(("omp", role), evidence):
        return undecidable(absent)
    effects = {
        percent(s): evidence.loss_contrast(loss, "omp", role, s)
        for s in _both(loss, "omp", role, evidence)
    }
    return everywhere(effects, digits=3)


def _lowest(loss: str, role: str, evidence: Evidence) -> Finding:
    others = [other for other in _COMPARED if other != role and other in evidence.roles]
    if absent := _absent((role,), evidence):
        return undecidable(absent)
    effects = {
        f"{other}, {percent(s)}": evidence.loss_contrast(loss, other, role, s)
        for other in others
        for s in _both(loss, other, role, evidence)
        if s >= _FROM
    }
    return everywhere(effects, digits=3)


def _both(loss: str, a: str, b: str, evidence: Evidence) -> list[float]:
    """The sparsities at which both methods have this loss."""
    rows = evidence.losses.drop_nulls(loss)
    at = [set(rows.filter(pl.col("method") == evidence.roles[role])["sparsity"]) for role in (a, b)]
    return sorted(set.intersection(*at))


def _absent(roles: Sequence[str], evidence: Evidence) -> str:
    """Which of these methods the sweep lacks, in words; empty if none."""
    absent = [role for role in roles if role not in evidence.roles]
    return f"the sweep has no {' and no '.join(absent)}" if absent else ""


def _foretells(loss: str, evidence: Evidence) -> Finding:
    pruned = evidence.points.filter(pl.col("sparsity") > 0).drop_nulls([loss, "score"])
    # Both follow the sparsity, so that over all of them they would go together in any case.
    within = pruned.with_columns(
        (pl.col(name).rank() / (pl.len() + 1)).over("sparsity") for name in (loss, "score")
    )
    found = rank_correlation(within, loss)
    if found is None or found.low is None or found.high is None:
        return undecidable(f"fewer than {LEAST_GROUPS} groups of subnetworks with loss and score")
    value = f"ρ = {shown(found, '', '', 2, sign=False)}"
    if within.height < _FEW:
        value += f", only {within.height} points"
    if found.high < 0:
        return Finding("supported", value)
    if found.low > 0:
        return Finding("contradicted", value)
    return Finding("not decidable", value, "the interval holds 0")
