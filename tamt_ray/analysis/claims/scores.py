"""The tests of the paper's statements about downstream scores (Fig. 1, 3, 4, 6, 7, 9–11)."""

from collections.abc import Sequence
from typing import Literal

import polars as pl

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import (
    ALPHA,
    Finding,
    equivalent,
    everywhere,
    shown,
    somewhere,
    undecidable,
)
from tamt_ray.analysis.roles import TAMT_ROLES
from tamt_ray.analysis.stats.comparison import cells
from tamt_ray.analysis.stats.effect import Cells, Effect, design, effect, minus, paired
from tamt_ray.analysis.stats.trajectories import per_doubling
from tamt_ray.analysis.words import percent
from tamt_ray.plan.expand import DENSE
from tamt_ray.tasks.base import TaskRole

HIGH = (0.6, 0.7, 0.8, 0.9)
KEPT = 0.9
"""Share of the dense model's score that a winning ticket keeps."""
_HALF = (0.4, 0.6)
"""Shares of the dense model's score between which "about half" of it is left."""
_FIRST, _LAST = 0.5, 0.9
"""The sparsities between which a decline is measured."""
_WIDENING: tuple[TaskRole, ...] = ("rte", "mnli", "squad")
_EARLY, _LATE = 0.3, 0.5
"""A gap is compared between the smallest sparsity, at most the first, and the second. Later both
methods approach chance and every gap closes."""
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
    return everywhere(effects)


def keeps_ninety_percent(evidence: Evidence) -> Finding:
    """At 50 % (BERT) or 30 % (RoBERTa) all but random keep 90 % of the dense model's score."""
    sparsity = 0.3 if evidence.family == "roberta" else 0.5
    effects = {
        role: evidence.contrast(role, DENSE, sparsity, KEPT)
        for role in evidence.roles
        if role != "random" and sparsity in evidence.sparsities(role)
    }
    return everywhere(effects) if effects else undecidable(f"no scores at {percent(sparsity)}")


def beats(evidence: Evidence, a: str, b: str, at: Sequence[float] = HIGH) -> Finding:
    """a scores higher than b at each of these sparsities."""
    if absent := evidence.lacks(a, b):
        return undecidable(absent)
    here = evidence.sparsities(a, b)
    effects = {percent(s): evidence.contrast(a, b, s) for s in at if s in here}
    return everywhere(effects, lacking=[percent(s) for s in at if s not in here])


def imp_declines_more_mildly(evidence: Evidence) -> Finding:
    """From 50 to 90 % IMP loses less of its score than OMP."""
    ends = [evidence.scores(role, s) for role in ("imp", "omp") for s in (_LAST, _FIRST)]
    if not all(ends):
        return undecidable(f"no scores of IMP and OMP at {percent(_FIRST)} and {percent(_LAST)}")
    declines = minus(*ends[:2]), minus(*ends[2:])
    return everywhere({f"{percent(_FIRST)} to {percent(_LAST)}": effect(paired(*declines))})


def kd_is_best_at_sixty(evidence: Evidence) -> Finding:
    """TAMT-KD above TAMT-MLM at 60 %, below it at 70 and 80 %."""
    kd, mlm = "tamt_kd", "tamt_mlm"
    pairs = [(kd, mlm, 0.6), (mlm, kd, 0.7), (mlm, kd, 0.8)]
    here = evidence.sparsities(kd, mlm)
    effects = {
        f"{a} − {b}, {percent(s)}": evidence.contrast(a, b, s) for a, b, s in pairs if s in here
    }
    return everywhere(effects, lacking=[percent(s) for _, _, s in pairs if s not in here])


def half_is_left_at_ninety(evidence: Evidence) -> Finding:
    """At 90 % IMP and every TAMT keep between 40 and 60 % of the dense model's score."""
    low, high = _HALF
    effects: dict[str, Effect | None] = {}
    ceiling = {run: high * score for run, score in evidence.scores(DENSE, 0.0).items()}
    for role in _searched(evidence):
        if _LAST in evidence.sparsities(role):
            effects[f"{role} − {low:g} × dense"] = evidence.contrast(role, DENSE, _LAST, low)
            above = paired(ceiling, evidence.scores(role, _LAST))
            effects[f"{high:g} × dense − {role}"] = effect(above)
    if not effects:
        return undecidable(f"no scores of searched masks at {percent(_LAST)}")
    return everywhere(effects)


def little_improvement_at_fifty(evidence: Evidence) -> Finding:
    """At 50 % masks that were searched score within 1 point of OMP's."""
    here = [role for role in _searched(evidence) if _FIRST in evidence.sparsities(role, "omp")]
    if not here:
        return undecidable(f"no scores of OMP and a searched mask at {percent(_FIRST)}")
    return equivalent({role: evidence.difference(role, "omp", _FIRST) for role in here})


def mlm_kd_is_about_mlm(evidence: Evidence) -> Finding:
    """TAMT-MLM+KD within 1 point of TAMT-MLM at 60–90 %."""
    pair = "tamt_mlm_kd", "tamt_mlm"
    here = evidence.sparsities(*pair)
    tables = {percent(s): evidence.difference(*pair, s) for s in HIGH if s in here}
    return equivalent(tables, [percent(s) for s in HIGH if s not in here])


def roberta_falls_below_bert(evidence: Evidence) -> Finding:
    """At some sparsity OMP leaves RoBERTa a lower score than BERT."""
    bert = evidence.bert
    if bert is None:
        return undecidable("the sweep has no BERT beside RoBERTa")
    shared = set(bert.sparsities("omp")) & set(evidence.sparsities("omp"))
    effects = {
        percent(s): effect(paired(bert.scores("omp", s), evidence.scores("omp", s)))
        for s in sorted(shared)
    }
    return somewhere(effects)


def no_gain(evidence: Evidence, role: TaskRole) -> Finding:
    """On the task of this role every TAMT scores within 1 point of IMP at 60–90 %."""
    task = evidence.tasks.get(role)
    if task is None:
        return undecidable(f"no task has `role: {role}`")
    tables = {
        f"{method}, {percent(s)}": evidence.difference(method, "imp", s, task)
        for method in TAMT_ROLES
        for s in evidence.sparsities(method, "imp", task=task)
        if s in HIGH
    }
    if not tables:
        return undecidable(f"no scores of TAMT and IMP on {task} at 60–90 %")
    return equivalent(tables)


def gap_to_random_widens(evidence: Evidence) -> Finding:
    """On RTE, MNLI and SQuAD the lead of OMP over random pruning grows with the sparsity."""
    effects: dict[str, Effect | None] = {}
    lacking: list[str] = []
    for role in _WIDENING:
        task = evidence.tasks.get(role)
        here = evidence.sparsities("omp", "random", task=task) if task else []
        if not here or here[0] > _EARLY or _LATE not in here:
            lacking.append(role)
            continue
        omp, random = (
            minus(evidence.scores(method, _LATE, task), evidence.scores(method, here[0], task))
            for method in ("omp", "random")
        )
        effects[f"{role}, {percent(here[0])} to {percent(_LATE)}"] = effect(paired(omp, random))
    if not effects:
        return undecidable(
            f"no scores of OMP and random at up to {percent(_EARLY)} and at {percent(_LATE)}"
        )
    return everywhere(effects, lacking=lacking)


def scores_rise(evidence: Evidence, start: Literal["omp", "random"]) -> Finding:
    """Scores rise with the steps of a search that starts from OMP's mask, or from a random one."""
    from_omp = [evidence.roles[role] for role in TAMT_ROLES if role in evidence.roles]
    effects: dict[str, Effect | None] = {}
    for method in from_omp if start == "omp" else evidence.random_init.values():
        rows = evidence.runs.filter(method=method)
        for s in rows["sparsity"].unique().sort().to_list():
            if slopes := per_doubling(evidence.curves(method, s)):
                effects[f"{method}, {percent(s)}"] = effect(design(slopes))
    if not effects:
        return undecidable("no method of this start with scores at two checkpoints")
    return everywhere(effects)


def omp_init_beats_random_init(evidence: Evidence) -> Finding:
    """Scores that start from OMP end in better masks than those that start from a random one."""
    if not evidence.random_init:
        return undecidable("the sweep has no method with both starts")
    effects: dict[str, Effect | None] = {}
    rows = evidence.runs.filter(task=evidence.leading or evidence.task)
    for ours, theirs in evidence.random_init.items():
        first, second = (rows.filter(method=name) for name in (ours, theirs))
        for s in sorted(set(first["sparsity"]) & set(second["sparsity"])):
            pair = [part.filter(sparsity=s) for part in (first, second)]
            both = set(pair[0]["checkpoint"]) & set(pair[1]["checkpoint"])
            a, b = (_over_checkpoints(part, both) for part in pair)
            effects[f"{ours}, {percent(s)}"] = effect(paired(a, b))
    return everywhere(effects)


def advantage_peaks(evidence: Evidence, role: TaskRole) -> Finding:
    """With less data for a task, TAMT's advantage over IMP first grows, then shrinks.

    The advantage is the mean over TAMT's objectives of their difference to IMP. Supported: at one
    size in between it exceeds those at both ends with p < 0.05 / (number of sizes in between);
    contradicted: each falls below one of the ends with p < 0.05 / 2.
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
    over = [
        [effect(paired(advantage[size], advantage[end])) for end in (least, None)] for size in inner
    ]
    value = shown_advantages(advantage)
    if any(all(_sure(e, +1, ALPHA / len(inner)) for e in pair) for pair in over):
        return Finding("supported", value)
    if all(any(_sure(e, -1, ALPHA / 2) for e in pair) for pair in over):
        return Finding("contradicted", value)
    return Finding("not decidable", value, "no size differs enough from both ends")


def advantages(task: str, evidence: Evidence) -> dict[int | None, Cells]:
    """TAMT's advantage over IMP at 70 %, in points, by the number of training examples.

    Mean over TAMT's objectives, rising in size; None, all of the data, comes last. Empty where the
    sweep trains on no smaller sets or lacks a method.
    """
    rows = evidence.reduced.filter(task=task, sparsity=_REDUCED)
    sizes = rows["train_size"].drop_nulls().unique().sort().to_list()
    scored = set(rows.drop_nulls(["score", "train_size"])["method"])
    names = [evidence.roles.get(role) for role in TAMT_ROLES]
    present = [name for name in names if name in scored]
    if "imp" not in evidence.roles or not present or not sizes:
        return {}
    found: dict[int | None, Cells] = {}
    for size in (*sizes, None):
        at = rows.filter(pl.col("train_size").eq_missing(size))
        imp = cells(at.filter(method=evidence.roles["imp"]))
        scores = [cells(at.filter(method=name)) for name in present]
        whole = set(imp).intersection(*scores)
        found[size] = {key: sum(s[key] for s in scores) / len(scores) - imp[key] for key in whole}
    return found


def shown_advantages(found: dict[int | None, Cells]) -> str:
    """Return the mean advantage at each size with its interval, in words; empty without any."""
    return "; ".join(
        shown(effect(design(values)), "all" if size is None else f"{size:,}")
        for size, values in found.items()
    )


def _searched(evidence: Evidence) -> list[str]:
    return [role for role in ("imp", *TAMT_ROLES) if role in evidence.roles]


def _over_checkpoints(rows: pl.DataFrame, checkpoints: set[int | None]) -> Cells:
    """Return the mean score over these checkpoints, for each run that has them all."""
    kept = rows.filter(pl.col("checkpoint").is_in(list(checkpoints), nulls_equal=True))
    whole = kept.group_by("mask_seed", "seed", maintain_order=True).agg(
        score=pl.when(pl.col("score").count() == len(checkpoints)).then(pl.col("score").mean())
    )
    return cells(whole)


def _sure(found: Effect | None, sign: int, alpha: float) -> bool:
    return found is not None and found.p is not None and found.value * sign > 0 and found.p < alpha
