"""The paper's statements about pre-training losses and what they foretell (Fig. 5)."""

import numpy as np
import polars as pl
from scipy import stats

from tamt_ray.analysis.bootstrap import SEED
from tamt_ray.analysis.correlation import LEAST_GROUPS, alike, correlate
from tamt_ray.analysis.effect import Effect, holm
from tamt_ray.analysis.evidence import Evidence
from tamt_ray.analysis.verdict import ALPHA, Finding, everywhere, percent, shown, undecidable

_NAMES = {"mlm_loss": "MLM", "kd_loss": "KD"}
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
    ±0.5. Contradicted: of the methods' means, the lower loss goes with the better score more
    strictly than in 95 % of all ways to pair them, Holm's correction over the two losses. That
    takes five methods at least.
    """
    here = evidence.points.filter(
        (pl.col("sparsity") == 0.5) & (pl.col("method") != evidence.roles.get("random", ""))
    )
    found = {loss: rank_correlation(here, loss) for loss in _NAMES}
    if all(effect is None for effect in found.values()):
        return undecidable(f"fewer than {LEAST_GROUPS} methods other than random at 50 %")
    p = holm([_pairing_test(here, loss) if found[loss] else None for loss in _NAMES])
    value = "; ".join(
        shown(effect, _NAMES[loss], "" if chance is None else f", p {chance:.2f}", 2)
        for (loss, effect), chance in zip(found.items(), p, strict=True)
    )
    if any(chance is not None and chance < ALPHA for chance in p):
        return Finding("contradicted", value)
    ends = [end for effect in found.values() if effect for end in (effect.low, effect.high)]
    if len(ends) == 2 * len(_NAMES) and all(
        end is not None and abs(end) <= _STRONG for end in ends
    ):
        return Finding("supported", value)
    return Finding("not decidable", value, "an interval reaches beyond ±0.5")


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


def _pairing_test(points: pl.DataFrame, loss: str) -> float:
    """One-sided p that the methods' mean scores fall as their mean losses rise."""
    whole = points.drop_nulls([loss, "score"])
    means = whole.group_by("method", maintain_order=True).agg(pl.col(loss, "score").mean())
    x, y = (stats.rankdata(means[name].to_numpy()) for name in (loss, "score"))
    # Of given ranks the sum of products orders pairings as Spearman's ρ does.
    test = stats.permutation_test(
        (x,),
        lambda shuffled: shuffled @ y,
        permutation_type="pairings",
        alternative="less",
        vectorized=False,
        rng=np.random.default_rng(SEED),
    )
    return float(test.pvalue)


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
    found = rank_correlation(within, loss)
    if found is None or found.low is None or found.high is None:
        return undecidable(f"fewer than {LEAST_GROUPS} groups of subnetworks with loss and score")
    value = f"ρ = {shown(found, '', '', 2, sign=False)}"
    if found.high < 0:
        return Finding("supported", value)
    if found.low > 0:
        return Finding("contradicted", value)
    return Finding("not decidable", value, "the interval holds 0")
