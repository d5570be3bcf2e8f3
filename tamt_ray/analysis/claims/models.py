"""The paper's statement about two models beside each other (Fig. 11)."""

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import Finding, percent, somewhere, undecidable
from tamt_ray.analysis.stats.effect import effect, paired


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
