"""The paper's statements about single tasks."""

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.scores import HIGH
from tamt_ray.analysis.claims.verdict import Finding, equivalent, everywhere, percent, undecidable
from tamt_ray.analysis.roles import OBJECTIVES
from tamt_ray.analysis.stats.effect import effect, minus, paired
from tamt_ray.tasks.base import TaskRole

_WIDENING: tuple[TaskRole, ...] = ("rte", "mnli", "squad")
_EARLY, _LATE = 0.3, 0.5
"""A gap is compared between the smallest sparsity, at most the first, and the second. Later both
methods approach chance and every gap closes."""


def no_gain_on_mrpc(evidence: Evidence) -> Finding:
    """On MRPC every TAMT scores within 1 point of IMP at 60–90 %."""
    return _no_gain("mrpc", evidence)


def no_gain_on_rte(evidence: Evidence) -> Finding:
    """On RTE every TAMT scores within 1 point of IMP at 60–90 %."""
    return _no_gain("rte", evidence)


def gap_to_random_widens(evidence: Evidence) -> Finding:
    """On RTE, MNLI and SQuAD the lead of OMP over random pruning grows with the sparsity."""
    effects = {}
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


def _no_gain(role: TaskRole, evidence: Evidence) -> Finding:
    task = evidence.tasks.get(role)
    if task is None:
        return undecidable(f"no task has `role: {role}`")
    tables = {
        f"{method}, {percent(s)}": evidence.difference(method, "imp", s, task)
        for method in OBJECTIVES
        for s in evidence.sparsities(method, "imp", task=task)
        if s in HIGH
    }
    if not tables:
        return undecidable(f"no scores of TAMT and IMP on {task} at 60–90 %")
    return equivalent(tables)
