"""The paper's statements about pre-training losses and what they foretell (Fig. 5)."""

import numpy as np
import polars as pl

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import Finding, everywhere, shown, undecidable
from tamt_ray.analysis.stats.correlation import LEAST_GROUPS, alike, correlate
from tamt_ray.analysis.stats.effect import SEED, Effect
from tamt_ray.analysis.words import percent

_NAMES = {"mlm_loss": "MLM", "kd_loss": "KD"}
_FEW = 10
"""Points below which a correlation is marked."""
_COMPARED = ("random", "omp", "imp", "tamt_mlm", "tamt_kd")
"""The methods of Fig. 5."""
_FROM = 0.5
"""The smallest sparsity of Fig. 5."""


def lowers(evidence: Evidence, loss: str, role: str) -> Finding:
    """A method has a lower loss than OMP, where it starts."""
    if absent := evidence.lacks("omp", role):
        return undecidable(absent)
    effects = {
        percent(s): evidence.loss_contrast(loss, "omp", role, s)
        for s in evidence.losses_at(loss, "omp", role)
    }
    return everywhere(effects, digits=3)


def lowest(evidence: Evidence, loss: str, role: str) -> Finding:
    """No other method of Fig. 5 has a loss as low as this one's."""
    if absent := evidence.lacks(role):
        return undecidable(absent)
    effects = {
        f"{other}, {percent(s)}": evidence.loss_contrast(loss, other, role, s)
        for other in _COMPARED
        if other != role and other in evidence.roles
        for s in evidence.losses_at(loss, other, role, _FROM)
    }
    return everywhere(effects, digits=3)


def imp_losses_below_omp(evidence: Evidence) -> Finding:
    """IMP has a lower MLM loss and a lower KD loss than OMP."""
    if absent := evidence.lacks("omp", "imp"):
        return undecidable(absent)
    effects = {
        f"{words}, {percent(s)}": evidence.loss_contrast(loss, "omp", "imp", s)
        for loss, words in _NAMES.items()
        for s in evidence.losses_at(loss, "omp", "imp", _FROM)
    }
    return everywhere(effects, digits=3)


def omp_worse_loss_better_score(evidence: Evidence) -> Finding:
    """At 60–80 % OMP has a higher MLM loss than random pruning, and yet a higher score."""
    at = (0.6, 0.7, 0.8)
    here = [s for s in at if s in evidence.sparsities("omp", "random")]
    effects: dict[str, Effect | None] = {}
    for s in here:
        effects[f"loss, {percent(s)}"] = evidence.loss_contrast("mlm_loss", "omp", "random", s)
        effects[f"score, {percent(s)}"] = evidence.contrast("omp", "random", s)
    return everywhere(effects, lacking=[percent(s) for s in at if s not in here], digits=2)


def foretells_score(evidence: Evidence, loss: str) -> Finding:
    """At a sparsity, a lower loss goes with a higher score (Spearman's ρ)."""
    pruned = evidence.points.filter(pl.col("sparsity") > 0).drop_nulls([loss, "score"])
    # Both follow the sparsity, so that over all of them they would go together in any case.
    within = pruned.with_columns(
        (pl.col(name).rank() / (pl.len() + 1)).over("sparsity") for name in (loss, "score")
    )
    x, y, groups = within[loss].to_numpy(), within["score"].to_numpy(), alike(within)
    found = correlate(x, y, np.random.default_rng(SEED), groups=groups)["spearman"]
    if found.value is None or found.low is None or found.high is None:
        return undecidable(f"fewer than {LEAST_GROUPS} groups of subnetworks with loss and score")
    value = f"ρ = {shown(Effect(found.value, found.low, found.high), '', 2, sign=False)}"
    if within.height < _FEW:
        value += f", only {within.height} points"
    if found.high < 0:
        return Finding("supported", value)
    if found.low > 0:
        return Finding("contradicted", value)
    return Finding("not decidable", value, "the interval holds 0")
