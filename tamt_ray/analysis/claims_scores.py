"""The paper's statements about downstream scores."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tamt_ray.analysis.bootstrap import Array
from tamt_ray.analysis.comparison import cells
from tamt_ray.analysis.effect import Cells, Effect, effect, paired
from tamt_ray.analysis.evidence import Evidence
from tamt_ray.analysis.roles import OBJECTIVES
from tamt_ray.analysis.verdict import (
    ALPHA,
    Finding,
    everywhere,
    percent,
    shown,
    undecidable,
)
from tamt_ray.plan.expand import DENSE

HIGH = (0.6, 0.7, 0.8, 0.9)
KEPT = 0.9
"""Share of the dense model's score that a winning ticket keeps."""
_REDUCED = 0.7
"""The sparsity of Fig. 9."""


def random_is_worst(evidence: Evidence) -> Finding:
    """Every other method scores higher than random pruning, at every sparsity."""
    if "random" not in evidence.roles:
        return undecidable("the sweep has no random pruning")
    effects = {
        f"{role}, {percent(s)}": evidence.contrast(role, "random", s)
        for role in evidence.roles
        if role != "random"
        for s in evidence.sparsities(role, "random")
    }
    found = everywhere(effects)
    if len(effects) <= 8:
        return found
    # Forty differences in a cell are no help; the smallest decides.
    least = min((e.value, place) for place, e in effects.items() if e)[1]
    words = f"least of {len(effects)}: {shown(effects[least], least)}"
    return Finding(found.verdict, words, found.why)


def keeps_ninety_percent(evidence: Evidence) -> Finding:
    """At 50 % (BERT) or 30 % (RoBERTa) all but random keep 90 % of the dense model's score."""
    sparsity = 0.3 if evidence.family == "roberta" else 0.5
    pruned = [role for role in evidence.roles if role != "random"]
    effects = {
        role: evidence.contrast(role, DENSE, sparsity, KEPT)
        for role in pruned
        if sparsity in evidence.sparsities(role)
    }
    if not effects:
        return undecidable(f"no scores at {percent(sparsity)}")
    return everywhere(effects)


def beats(a: str, b: str, at: Sequence[float], evidence: Evidence) -> Finding:
    """a scores higher than b at each of these sparsities."""
    absent = [role for role in (a, b) if role not in evidence.roles]
    if absent:
        return undecidable(f"the sweep has no {' and no '.join(absent)}")
    here = [s for s in at if s in evidence.sparsities(a, b)]
    effects = {percent(s): evidence.contrast(a, b, s) for s in here}
    return everywhere(effects, lacking=[percent(s) for s in at if s not in here])


def tamt_mlm_beats_imp(evidence: Evidence) -> Finding:
    """TAMT-MLM above IMP at 60–90 %."""
    return beats("tamt_mlm", "imp", HIGH, evidence)


def tamt_kd_beats_imp(evidence: Evidence) -> Finding:
    """TAMT-KD above IMP at 60–90 %; on RoBERTa the paper finds it weak."""
    return beats("tamt_kd", "imp", HIGH, evidence)


def tamt_mlm_kd_beats_imp(evidence: Evidence) -> Finding:
    """TAMT-MLM+KD above IMP at 60–90 %."""
    return beats("tamt_mlm_kd", "imp", HIGH, evidence)


def imp_beats_omp(evidence: Evidence) -> Finding:
    """IMP above OMP at 60–90 %."""
    return beats("imp", "omp", HIGH, evidence)


def kd_is_weak(evidence: Evidence) -> Finding:
    """TAMT-KD below TAMT-MLM at 70–90 %."""
    return beats("tamt_mlm", "tamt_kd", HIGH[1:], evidence)


def omp_init_beats_random_init(evidence: Evidence) -> Finding:
    """Scores that start from OMP end in better masks than those that start from a random one."""
    if not evidence.random_init:
        return undecidable("the sweep has no method with both starts")
    effects: dict[str, Effect | None] = {}
    for ours, theirs in evidence.random_init.items():
        rows = evidence.runs.filter(pl.col("task") == (evidence.leading or evidence.task))
        first, second = (rows.filter(pl.col("method") == name) for name in (ours, theirs))
        for s in sorted(set(first["sparsity"]) & set(second["sparsity"])):
            pair = [part.filter(pl.col("sparsity") == s) for part in (first, second)]
            both = set(pair[0]["checkpoint"]) & set(pair[1]["checkpoint"])
            effects[f"{ours}, {percent(s)}"] = effect(
                paired(_over_checkpoints(pair[0], both), _over_checkpoints(pair[1], both))
            )
    return everywhere(effects)


def mnli_advantage_peaks(evidence: Evidence) -> Finding:
    """Less data for MNLI: TAMT's advantage over IMP first grows, then shrinks."""
    return advantage_peaks("mnli", evidence)


def squad_advantage_peaks(evidence: Evidence) -> Finding:
    """Less data for SQuAD: TAMT's advantage over IMP first grows, then shrinks."""
    return advantage_peaks("squad", evidence)


def advantage_peaks(task: str, evidence: Evidence) -> Finding:
    """At some size in between, TAMT's advantage over IMP exceeds those at both ends.

    The advantage is the mean over TAMT's objectives of their difference to IMP. Supported: one
    size exceeds both ends with p < 0.05 / (number of sizes in between); contradicted: each falls
    below one of the ends with p < 0.05 / 2.
    """
    rows = evidence.reduced.filter((pl.col("task") == task) & (pl.col("sparsity") == _REDUCED))
    sizes = [s for s in rows["train_size"].unique().sort().to_list() if s is not None]
    if len(sizes) < 2:
        return undecidable(f"no two smaller training sets of {task} at {percent(_REDUCED)}")
    scored = set(rows.drop_nulls(["score", "train_size"])["method"])
    names = [evidence.roles.get(role) for role in OBJECTIVES]
    present = [name for name in names if name in scored and name is not None]
    if "imp" not in evidence.roles or not present:
        return undecidable("this takes IMP and TAMT")
    advantage: dict[int | None, Cells] = {}
    for size in (*sizes, None):
        at = rows.filter(pl.col("train_size").eq_missing(size))
        scores = [cells(at.filter(pl.col("method") == name)) for name in present]
        imp = cells(at.filter(pl.col("method") == evidence.roles["imp"]))
        advantage[size] = _mean_advantage(scores, imp)
    least, inner = sizes[0], sizes[1:]
    over = {
        size: [effect(paired(advantage[size], advantage[end])) for end in (least, None)]
        for size in inner
    }
    words = [*(f"{size:,}" for size in sizes), "all"]
    value = "; ".join(
        shown(effect(_table(advantage[size])), name)
        for size, name in zip([*sizes, None], words, strict=True)
    )
    significant = ALPHA / len(inner)
    if any(all(_sure(e, +1, significant) for e in pair) for pair in over.values()):
        return Finding("supported", value)
    if all(any(_sure(e, -1, ALPHA / 2) for e in pair) for pair in over.values()):
        return Finding("contradicted", value)
    return Finding("not decidable", value, "no size differs enough from both ends")


def _mean_advantage(scores: Sequence[Cells], imp: Cells) -> Cells:
    """Mean over methods of score − IMP, where all are there."""
    whole = set(imp).intersection(*scores)
    return {key: sum(s[key] for s in scores) / len(scores) - imp[key] for key in whole}


def _table(found: Cells) -> Array:
    return paired(found, {(None, None): 0.0}) if found else np.empty((0, 0))


def _sure(found: Effect | None, sign: int, alpha: float) -> bool:
    return found is not None and found.p is not None and found.value * sign > 0 and found.p < alpha


def _over_checkpoints(rows: pl.DataFrame, checkpoints: set[int | None]) -> Cells:
    """The mean score over these checkpoints, for each run that has them all."""
    kept = rows.filter(
        pl.any_horizontal(pl.col("checkpoint").eq_missing(step) for step in checkpoints)
        if checkpoints
        else pl.lit(False)
    )
    whole = kept.group_by("mask_seed", "seed", maintain_order=True).agg(
        score=pl.when(pl.col("score").count() == len(checkpoints)).then(pl.col("score").mean())
    )
    return cells(whole)
