"""The paper's statements in words, each with the function that tests it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import polars as pl

from tamt_ray.analysis import claims_losses, claims_masks, claims_scores
from tamt_ray.analysis.evidence import Evidence, Family
from tamt_ray.analysis.verdict import Finding


class Rule(Enum):
    """When a statement counts as supported or contradicted; the value says it in words."""

    ALL_ABOVE = (
        "“all above 0”. Supported: every 95 % interval lies above 0. Contradicted: one difference "
        "lies below 0 with p < 0.05, Holm's correction over the sparsities and methods that are "
        "there."
    )
    BELOW = "“below 0”. Supported: the 95 % interval lies below 0. Contradicted: above."
    NONE = (
        "“no relation”, which cannot be shown. Supported: both 95 % intervals lie within ±0.5. "
        "Contradicted: the methods' means go together with p < 0.05 among all ways to pair them, "
        "Holm's correction over both losses; with fewer than five methods they never do."
    )
    ABOVE_ONE = (
        "“above 1”. Supported: the interval lies above 1 for one of TAMT's objectives, 95 % for "
        "all of them together. Contradicted: it lies below 1, or IMP's best is never reached, "
        "for every one."
    )
    ABOUT = (
        "“about”. Supported: the interval lies within a factor 2 of the paper's value. "
        "Contradicted: it lies wholly outside, or IMP's best is never reached."
    )
    INSIDE = (
        "“inside”. Supported: the 95 % interval lies inside the range. Contradicted: it lies "
        "wholly outside."
    )
    PEAK = (
        "“peak”. Supported: the advantage at one size in between exceeds those at both ends, "
        "p < 0.05 over all sizes. Contradicted: each of them falls below an end."
    )

    @property
    def title(self) -> str:
        """What stands in quotes."""
        return self.value[1 : self.value.index("”")]


@dataclass(frozen=True)
class Claim:
    """A statement, where it is made, what is measured, and by which rule it is judged."""

    statement: str
    where: str
    statistic: str
    rule: Rule
    test: Callable[[Evidence], Finding]
    family: Family | None = None
    """The kind of model that it is about; None: any."""


_RANK = (
    "Spearman's ρ over subnetworks by their ranks among those of a sparsity, groups of one method "
    "and sparsity resampled"
)

CLAIMS: tuple[Claim, ...] = (
    Claim("Random pruning is below all the rest (in the paper far below).", "Fig. 1, 3, 4",
          "other − random, points", Rule.ALL_ABOVE, claims_scores.random_is_worst),
    Claim("At 50 % all but random keep 90 % of the dense model.", "Fig. 3",
          "score − 0.9 × dense, points", Rule.ALL_ABOVE, claims_scores.keeps_ninety_percent,
          "bert"),
    Claim("At 30 % all but random keep 90 % of the dense model.", "Fig. 4",
          "score − 0.9 × dense, points", Rule.ALL_ABOVE, claims_scores.keeps_ninety_percent,
          "roberta"),
    Claim("TAMT-MLM is better than IMP at 60–90 %.", "Fig. 3, 4",
          "TAMT-MLM − IMP, points", Rule.ALL_ABOVE, claims_scores.tamt_mlm_beats_imp),
    Claim("TAMT-KD is better than IMP at 60–90 %.", "Fig. 3",
          "TAMT-KD − IMP, points", Rule.ALL_ABOVE, claims_scores.tamt_kd_beats_imp, "bert"),
    Claim("TAMT-MLM+KD is better than IMP at 60–90 %.", "Fig. 3, 4",
          "TAMT-MLM+KD − IMP, points", Rule.ALL_ABOVE, claims_scores.tamt_mlm_kd_beats_imp),
    Claim("IMP is better than OMP at 60–90 %.", "Fig. 3, 4",
          "IMP − OMP, points", Rule.ALL_ABOVE, claims_scores.imp_beats_omp),
    Claim("TAMT-KD is weak on RoBERTa at 70–90 %.", "Fig. 4",
          "TAMT-MLM − TAMT-KD, points", Rule.ALL_ABOVE, claims_scores.kd_is_weak, "roberta"),
    Claim("MLM training lowers the KD loss too.", "Fig. 5",
          "KD loss of OMP − TAMT-MLM", Rule.ALL_ABOVE, claims_losses.mlm_training_lowers_kd),
    Claim("KD training lowers the MLM loss too.", "Fig. 5",
          "MLM loss of OMP − TAMT-KD, nats", Rule.ALL_ABOVE, claims_losses.kd_training_lowers_mlm),
    Claim("The lower the MLM loss, the better the score.", "Fig. 5, 12",
          _RANK, Rule.BELOW, claims_losses.mlm_loss_foretells_score),
    Claim("The lower the KD loss, the better the score.", "Fig. 5, 13",
          _RANK, Rule.BELOW, claims_losses.kd_loss_foretells_score),
    Claim("At 50 % the losses tell nothing about the score.", "Fig. 5",
          "Spearman's ρ without random pruning, whole methods resampled", Rule.NONE,
          claims_losses.no_correlation_at_fifty),
    Claim("At 60–80 % OMP has a worse MLM loss than random and yet a better score.", "Fig. 5",
          "OMP − random, nats and points", Rule.ALL_ABOVE,
          claims_losses.omp_worse_loss_better_score),
    Claim("TAMT reaches IMP's best score in fewer iterations.", "Fig. 6",
          "IMP's iterations / TAMT's, 70 %", Rule.ABOVE_ONE, claims_masks.fewer_iterations),
    Claim("These are 8.4 times fewer.", "Fig. 6",
          "the same of the quickest objective", Rule.ABOUT, claims_masks.iterations_ratio),
    Claim("TAMT reaches IMP's best score in less time.", "Fig. 6",
          "IMP's time / TAMT's, 70 %", Rule.ABOVE_ONE, claims_masks.less_time),
    Claim("This is 8.7 times less.", "Fig. 6",
          "the same of the quickest objective", Rule.ABOUT, claims_masks.time_ratio),
    Claim("Scores that start from OMP beat those that start at random.", "Fig. 7",
          "mean difference over common search lengths, points", Rule.ALL_ABOVE,
          claims_scores.omp_init_beats_random_init),
    Claim("KD masks stay near OMP, MLM masks move away.", "Fig. 8",
          "distance to OMP of TAMT-MLM − TAMT-KD", Rule.ALL_ABOVE, claims_masks.kd_stays_near_omp),
    Claim("Jaccard(TAMT-MLM, IMP) is 0.75 at 60 %.", "Fig. 17",
          "mean over all pairs of masks, 0.70 to 0.80", Rule.INSIDE,
          claims_masks.jaccard_at_sixty),
    Claim("Jaccard(TAMT-MLM, IMP) is below 0.6 at 80 %.", "Fig. 17",
          "mean over all pairs of masks, below 0.6", Rule.INSIDE,
          claims_masks.jaccard_at_eighty),
    Claim("With less data for MNLI the advantage of TAMT first grows, then shrinks.", "Fig. 9",
          "mean of TAMT − IMP at 70 %, points", Rule.PEAK, claims_scores.mnli_advantage_peaks),
    Claim("With less data for SQuAD the advantage of TAMT first grows, then shrinks.", "Fig. 9",
          "mean of TAMT − IMP at 70 %, points", Rule.PEAK, claims_scores.squad_advantage_peaks),
)  # fmt: skip


Judged = list[tuple[Claim, str | None, Finding]]
"""Statements, each with the model it was tested on and what came out."""


def judge_claims(evidence: Mapping[str, Evidence]) -> Judged:
    """Each statement with the models it is about and what their data say.

    A statement about a kind of model that the sweep lacks has None in place of a model.
    """
    found: Judged = []
    for claim in CLAIMS:
        models = [name for name, e in evidence.items() if claim.family in (None, e.family)]
        found += [(claim, name, claim.test(evidence[name])) for name in models]
        if not models:
            words = "RoBERTa" if claim.family == "roberta" else "BERT"
            found.append((claim, None, Finding("not decidable", "", f"the sweep has no {words}")))
    return found


def claims_frame(judged: Judged) -> pl.DataFrame:
    """One row a verdict, in the order of `judged`, all text."""
    return pl.DataFrame(
        {
            "statement": [claim.statement for claim, _, _ in judged],
            "where": [claim.where for claim, _, _ in judged],
            "model": [model for _, model, _ in judged],
            "statistic": [claim.statistic for claim, _, _ in judged],
            "rule": [claim.rule.title for claim, _, _ in judged],
            "value": [finding.value for _, _, finding in judged],
            "verdict": [finding.verdict for _, _, finding in judged],
            "why": [finding.why for _, _, finding in judged],
        },
        schema_overrides={"model": pl.String},
    )
