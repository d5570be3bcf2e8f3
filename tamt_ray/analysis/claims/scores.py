"""The paper's statements about downstream scores."""

from collections.abc import Sequence

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import Finding, equivalent, everywhere, percent, undecidable
from tamt_ray.analysis.roles import OBJECTIVES
from tamt_ray.analysis.stats.effect import Effect, effect, minus, paired
from tamt_ray.plan.expand import DENSE

HIGH = (0.6, 0.7, 0.8, 0.9)
KEPT = 0.9
"""Share of the dense model's score that a winning ticket keeps."""
_HALF = (0.4, 0.6)
"""Shares of the dense model's score between which "about half" of it is left."""
_FIRST, _LAST = 0.5, 0.9
"""The sparsities between which a decline is measured."""


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
    for role in _searched(evidence):
        if _LAST in evidence.sparsities(role):
            effects[f"{role} − {low:g} × dense"] = evidence.contrast(role, DENSE, _LAST, low)
            ceiling = {run: high * score for run, score in evidence.scores(DENSE, 0.0).items()}
            effects[f"{high:g} × dense − {role}"] = effect(
                paired(ceiling, evidence.scores(role, _LAST))
            )
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
    here = evidence.sparsities("tamt_mlm_kd", "tamt_mlm")
    tables = {
        percent(s): evidence.difference("tamt_mlm_kd", "tamt_mlm", s) for s in HIGH if s in here
    }
    return equivalent(tables, [percent(s) for s in HIGH if s not in here])


def mlm_kd_beats_mlm(evidence: Evidence) -> Finding:
    """TAMT-MLM+KD above TAMT-MLM at 60–90 %."""
    return beats("tamt_mlm_kd", "tamt_mlm", HIGH, evidence)


def _searched(evidence: Evidence) -> list[str]:
    return [role for role in ("imp", *OBJECTIVES) if role in evidence.roles]
