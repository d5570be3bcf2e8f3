"""The paper's statements about less training data (Fig. 9)."""

from collections.abc import Sequence

import polars as pl

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import ALPHA, Finding, percent, shown, undecidable
from tamt_ray.analysis.roles import OBJECTIVES
from tamt_ray.analysis.stats.comparison import cells
from tamt_ray.analysis.stats.effect import Cells, Effect, design, effect, paired
from tamt_ray.tasks.base import TaskRole

_REDUCED = 0.7
"""The sparsity of Fig. 9."""


def mnli_advantage_peaks(evidence: Evidence) -> Finding:
    """Less data for MNLI: TAMT's advantage over IMP first grows, then shrinks."""
    return advantage_peaks("mnli", evidence)


def squad_advantage_peaks(evidence: Evidence) -> Finding:
    """Less data for SQuAD: TAMT's advantage over IMP first grows, then shrinks."""
    return advantage_peaks("squad", evidence)


def advantage_peaks(role: TaskRole, evidence: Evidence) -> Finding:
    """At some size in between, TAMT's advantage over IMP exceeds those at both ends.

    The advantage is the mean over TAMT's objectives of their difference to IMP. Supported: one
    size exceeds both ends with p < 0.05 / (number of sizes in between); contradicted: each falls
    below one of the ends with p < 0.05 / 2.
    """
    task = evidence.tasks.get(role)
    if task is None:
        return undecidable(f"no task has `role: {role}`")
    advantage = advantages(task, evidence)
    sizes = [size for size in advantage if size is not None]
    if len(sizes) < 2:
        place = f"two smaller training sets of {task} at {percent(_REDUCED)}"
        return undecidable(f"no scores of IMP and TAMT on {place}")
    least, inner = sizes[0], sizes[1:]
    over = {
        size: [effect(paired(advantage[size], advantage[end])) for end in (least, None)]
        for size in inner
    }
    value = "; ".join(
        shown(effect(design(found)), "all" if size is None else f"{size:,}")
        for size, found in advantage.items()
    )
    significant = ALPHA / len(inner)
    if any(all(_sure(e, +1, significant) for e in pair) for pair in over.values()):
        return Finding("supported", value)
    if all(any(_sure(e, -1, ALPHA / 2) for e in pair) for pair in over.values()):
        return Finding("contradicted", value)
    return Finding("not decidable", value, "no size differs enough from both ends")


def advantages(task: str, evidence: Evidence) -> dict[int | None, Cells]:
    """TAMT's advantage over IMP at 70 %, in points, by the number of training examples.

    Mean over TAMT's objectives, rising in size; None, all of the data, comes last. Empty where the
    sweep trains on no smaller sets or lacks a method.
    """
    rows = evidence.reduced.filter((pl.col("task") == task) & (pl.col("sparsity") == _REDUCED))
    sizes = [s for s in rows["train_size"].unique().sort().to_list() if s is not None]
    scored = set(rows.drop_nulls(["score", "train_size"])["method"])
    names = [evidence.roles.get(role) for role in OBJECTIVES]
    present = [name for name in names if name in scored]
    if "imp" not in evidence.roles or not present or not sizes:
        return {}
    found: dict[int | None, Cells] = {}
    for size in (*sizes, None):
        at = rows.filter(pl.col("train_size").eq_missing(size))
        scores = [cells(at.filter(pl.col("method") == name)) for name in present]
        imp = cells(at.filter(pl.col("method") == evidence.roles["imp"]))
        found[size] = _mean_advantage(scores, imp)
    return found


def _mean_advantage(scores: Sequence[Cells], imp: Cells) -> Cells:
    """Mean over methods of score − IMP, where all are there."""
    whole = set(imp).intersection(*scores)
    return {key: sum(s[key] for s in scores) / len(scores) - imp[key] for key in whole}


def _sure(found: Effect | None, sign: int, alpha: float) -> bool:
    return found is not None and found.p is not None and found.value * sign > 0 and found.p < alpha
