"""The paper's statements in words, each with the function that tests it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

import polars as pl

from tamt_ray.analysis.claims import losses, masks, scores
from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import Finding
from tamt_ray.values.model import ModelRole


class Rule(Enum):
    """Condition for a statement to be supported or contradicted; the value says it in words."""

    ALL_ABOVE = (
        "“all above 0”. Supported: every 95 % interval lies above 0. Contradicted: one difference "
        "lies below 0 with p < 0.05, Holm's correction over the sparsities and methods that are "
        "there."
    )
    BELOW = "“below 0”. Supported: the 95 % interval lies below 0. Contradicted: above."
    SOMEWHERE = (
        "“somewhere above 0”. Supported: one difference lies above 0 with p < 0.05, Holm's "
        "correction over the sparsities that are there. Contradicted: every 95 % interval lies "
        "below 0."
    )
    EQUAL = (
        "“within ±1 point”, for statements that a difference is small. Supported: every 95 % "
        "interval lies within ±1 point. Contradicted: one difference is larger than 1 point with "
        "p < 0.05, Holm's correction. Within ±2 points is said beside an open verdict."
    )
    ABOVE_ONE = (
        "“above 1”. Supported: the interval lies above 1 for one of TAMT's objectives, 95 % for "
        "all of them together. Contradicted: it lies below 1, or IMP's best is never reached, "
        "for every one."
    )
    BELOW_ONE = (
        "“below 1”. Supported: the interval lies below 1, or IMP's best is never reached. "
        "Contradicted: it lies above 1."
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
        """The quoted words."""
        return self.value[1 : self.value.index("”")]


@dataclass(frozen=True)
class Claim:
    """A statement, where it is made, what is measured, and by which rule it is tested."""

    statement: str
    where: str
    statistic: str
    rule: Rule
    test: Callable[[Evidence], Finding]
    family: ModelRole | None = None
    """The model of the paper that it is about; None: both."""
    elsewhere: bool = False
    """True where it is tested on the other kind of model too."""


_RANK = (
    "Spearman's ρ over subnetworks by their ranks among those of a sparsity, groups of one method "
    "and sparsity resampled"
)

CLAIMS: tuple[Claim, ...] = (
    Claim("Random pruning is below all the rest (in the paper far below).", "Fig. 1, 3, 4",
          "other − random, points", Rule.ALL_ABOVE, scores.random_is_worst),
    Claim("At 50 % all but random keep 90 % of the dense model.", "Fig. 3",
          "score − 0.9 × dense, points", Rule.ALL_ABOVE, scores.keeps_ninety_percent, "bert"),
    Claim("At 30 % all but random keep 90 % of the dense model.", "Fig. 4",
          "score − 0.9 × dense, points", Rule.ALL_ABOVE, scores.keeps_ninety_percent, "roberta"),
    Claim("TAMT-MLM is better than IMP at 60–90 %.", "Fig. 3, 4", "TAMT-MLM − IMP, points",
          Rule.ALL_ABOVE, partial(scores.beats, a="tamt_mlm", b="imp")),
    Claim("TAMT-KD is better than IMP at 60–90 %.", "Fig. 3", "TAMT-KD − IMP, points",
          Rule.ALL_ABOVE, partial(scores.beats, a="tamt_kd", b="imp"), "bert"),
    Claim("TAMT-MLM+KD is better than IMP at 60–90 %.", "Fig. 3, 4", "TAMT-MLM+KD − IMP, points",
          Rule.ALL_ABOVE, partial(scores.beats, a="tamt_mlm_kd", b="imp")),
    Claim("TAMT-MLM+KD is about as good as TAMT-MLM.", "Fig. 3", "TAMT-MLM+KD − TAMT-MLM, points",
          Rule.EQUAL, scores.mlm_kd_is_about_mlm, "bert"),
    Claim("TAMT-MLM+KD is slightly better than TAMT-MLM.", "Fig. 4",
          "TAMT-MLM+KD − TAMT-MLM, points", Rule.ALL_ABOVE,
          partial(scores.beats, a="tamt_mlm_kd", b="tamt_mlm"), "roberta"),
    Claim("TAMT-KD is slightly better than IMP at 60–90 %.", "Fig. 4", "TAMT-KD − IMP, points",
          Rule.ALL_ABOVE, partial(scores.beats, a="tamt_kd", b="imp"), "roberta"),
    Claim("IMP is better than OMP at 60–90 %.", "Fig. 3, 4", "IMP − OMP, points", Rule.ALL_ABOVE,
          partial(scores.beats, a="imp", b="omp")),
    Claim("IMP declines more mildly than OMP up to 90 %.", "Fig. 3, 4",
          "OMP's decline from 50 to 90 % − IMP's, points", Rule.ALL_ABOVE,
          scores.imp_declines_more_mildly),
    Claim("At 90 % about half of the dense model's score is left.", "Fig. 3, 4",
          "searched masks − 0.4 × dense and 0.6 × dense − searched masks, points", Rule.ALL_ABOVE,
          scores.half_is_left_at_ninety),
    Claim("RoBERTa falls below BERT.", "Fig. 11", "OMP on BERT − OMP on RoBERTa, points",
          Rule.SOMEWHERE, scores.roberta_falls_below_bert, "roberta"),
    Claim("There is no clear gain on MRPC.", "Fig. 3, 4", "TAMT − IMP at 60–90 %, points",
          Rule.EQUAL, partial(scores.no_gain, role="mrpc")),
    Claim("There is no clear gain on RTE.", "Fig. 3, 4", "TAMT − IMP at 60–90 %, points",
          Rule.EQUAL, partial(scores.no_gain, role="rte")),
    Claim("The gap of OMP and random widens on RTE, MNLI and SQuAD.", "Fig. 10",
          "gap at 50 % − gap at the smallest sparsity, points", Rule.ALL_ABOVE,
          scores.gap_to_random_widens, "bert", True),
    Claim("TAMT-KD is weak on RoBERTa at 70–90 %.", "Fig. 4", "TAMT-MLM − TAMT-KD, points",
          Rule.ALL_ABOVE, partial(scores.beats, a="tamt_mlm", b="tamt_kd", at=scores.HIGH[1:]),
          "roberta"),
    Claim("MLM training lowers the KD loss too.", "Fig. 5", "KD loss of OMP − TAMT-MLM",
          Rule.ALL_ABOVE, partial(losses.lowers, loss="kd_loss", role="tamt_mlm"), "bert", True),
    Claim("KD training lowers the MLM loss too.", "Fig. 5", "MLM loss of OMP − TAMT-KD, nats",
          Rule.ALL_ABOVE, partial(losses.lowers, loss="mlm_loss", role="tamt_kd"), "bert", True),
    Claim("TAMT-MLM has the lowest MLM loss.", "Fig. 5",
          "MLM loss of the others of the figure − TAMT-MLM, nats", Rule.ALL_ABOVE,
          partial(losses.lowest, loss="mlm_loss", role="tamt_mlm"), "bert", True),
    Claim("TAMT-KD has the lowest KD loss.", "Fig. 5",
          "KD loss of the others of the figure − TAMT-KD", Rule.ALL_ABOVE,
          partial(losses.lowest, loss="kd_loss", role="tamt_kd"), "bert", True),
    Claim("IMP's losses lie below OMP's.", "Fig. 5", "MLM and KD loss of OMP − IMP", Rule.ALL_ABOVE,
          losses.imp_losses_below_omp, "bert", True),
    Claim("The lower the MLM loss, the better the score.", "Fig. 5, 12", _RANK, Rule.BELOW,
          partial(losses.foretells_score, loss="mlm_loss"), "bert", True),
    Claim("The lower the KD loss, the better the score.", "Fig. 5, 13", _RANK, Rule.BELOW,
          partial(losses.foretells_score, loss="kd_loss"), "bert", True),
    Claim("At 50 % lower losses bring little or no improvement of the score.", "Fig. 5",
          "searched methods − OMP, points", Rule.EQUAL, scores.little_improvement_at_fifty, "bert",
          True),
    Claim("At 60–80 % OMP has a worse MLM loss than random and yet a better score.", "Fig. 5",
          "OMP − random, nats and points", Rule.ALL_ABOVE, losses.omp_worse_loss_better_score,
          "bert", True),
    Claim("TAMT reaches IMP's best score in fewer iterations.", "Fig. 6",
          "IMP's iterations / TAMT's, 70 %", Rule.ABOVE_ONE,
          partial(masks.quicker, cost="iterations"), "bert", True),
    Claim("These are 8.4 times fewer.", "Fig. 6", "the same of the quickest objective", Rule.ABOUT,
          partial(masks.ratio_is_about, cost="iterations", ratio=8.4), "bert", True),
    Claim("TAMT reaches IMP's best score in less time.", "Fig. 6", "IMP's time / TAMT's, 70 %",
          Rule.ABOVE_ONE, partial(masks.quicker, cost="seconds"), "bert", True),
    Claim("This is 8.7 times less.", "Fig. 6", "the same of the quickest objective", Rule.ABOUT,
          partial(masks.ratio_is_about, cost="seconds", ratio=8.7), "bert", True),
    Claim("TAMT-KD is the best at 60 %, TAMT-MLM above.", "Fig. 6, 14–16",
          "the better − the other, points", Rule.ALL_ABOVE, scores.kd_is_best_at_sixty, "bert"),
    Claim("TAMT-KD is slower than IMP at 80 %.", "Fig. 16", "IMP's iterations / TAMT-KD's, 80 %",
          Rule.BELOW_ONE, masks.kd_is_slower_at_eighty, "bert"),
    Claim("On STS-B, an exception, TAMT-KD is quicker than IMP at 80 %.", "Fig. 16",
          "IMP's iterations / TAMT-KD's on STS-B, 80 %", Rule.ABOVE_ONE,
          masks.kd_is_quicker_on_stsb, "bert"),
    Claim("Scores rise with the steps of a search that starts from OMP.", "Fig. 7",
          "points per doubling of the steps", Rule.ALL_ABOVE,
          partial(scores.scores_rise, start="omp"), "bert", True),
    Claim("Scores rise with the steps of a search that starts at random.", "Fig. 7",
          "points per doubling of the steps", Rule.ALL_ABOVE,
          partial(scores.scores_rise, start="random"), "bert", True),
    Claim("Scores that start from OMP beat those that start at random.", "Fig. 7",
          "mean difference over common search lengths, points", Rule.ALL_ABOVE,
          scores.omp_init_beats_random_init, "bert", True),
    Claim("KD masks stay near OMP, MLM masks move away.", "Fig. 8",
          "distance to OMP of TAMT-MLM − TAMT-KD", Rule.ALL_ABOVE, masks.kd_stays_near_omp, "bert",
          True),
    Claim("The longer the search, the further MLM masks are from OMP; KD masks move less.",
          "Fig. 8", "distance to OMP per doubling of the steps", Rule.ALL_ABOVE,
          masks.mlm_masks_move_away, "bert", True),
    Claim("IMP and TAMT-MLM are the most dissimilar pair of masks.", "Fig. 8",
          "distance of (IMP, TAMT-MLM) − other pairs", Rule.ALL_ABOVE,
          masks.imp_and_tamt_mlm_differ_most, "bert", True),
    Claim("Jaccard(TAMT-MLM, IMP) is 0.75 at 60 %.", "Fig. 17",
          "mean over all pairs of masks, 0.70 to 0.80", Rule.INSIDE,
          partial(masks.similarity, sparsity=0.6, low=0.70, high=0.80), "bert", True),
    Claim("Jaccard(TAMT-MLM, IMP) is below 0.6 at 80 %.", "Fig. 17",
          "mean over all pairs of masks, below 0.6", Rule.INSIDE,
          partial(masks.similarity, sparsity=0.8, low=-1.0, high=0.6), "bert", True),
    Claim("With less data for MNLI the advantage of TAMT first grows, then shrinks.", "Fig. 9",
          "mean of TAMT − IMP at 70 %, points", Rule.PEAK,
          partial(scores.advantage_peaks, role="mnli"), "bert", True),
    Claim("With less data for SQuAD the advantage of TAMT first grows, then shrinks.", "Fig. 9",
          "mean of TAMT − IMP at 70 %, points", Rule.PEAK,
          partial(scores.advantage_peaks, role="squad"), "bert", True),
)  # fmt: skip


EvaluatedClaims = list[tuple[Claim, str | None, Finding]]
"""Statements, each with the model it was tested on and what came out."""


def evaluate_claims(evidence: Mapping[str, Evidence]) -> EvaluatedClaims:
    """Test each statement on the models that stand for those it is about.

    A statement about a model that the sweep lacks has None in place of a model. Models without a
    role are left out; with no other there are no statements.
    """
    found: EvaluatedClaims = []
    evidence = {name: each for name, each in evidence.items() if each.family}
    for claim in CLAIMS if evidence else ():
        models = [
            name
            for name, e in evidence.items()
            if claim.elsewhere or claim.family in (None, e.family)
        ]
        found += [(claim, name, _evaluate(claim, evidence[name])) for name in models]
        if not models:
            words = "RoBERTa" if claim.family == "roberta" else "BERT"
            found.append((claim, None, Finding("not decidable", "", f"the sweep has no {words}")))
    return found


def _evaluate(claim: Claim, evidence: Evidence) -> Finding:
    """Return the finding; only the model that a statement is about can contradict it."""
    finding = claim.test(evidence)
    about = evidence.of_paper and claim.family in (None, evidence.family)
    if finding.verdict == "contradicted" and not about:
        return replace(finding, verdict="does not hold here")
    return finding


def claims_frame(evaluated: EvaluatedClaims) -> pl.DataFrame:
    """Return one row per verdict, in the order of `evaluated`, all text."""
    return pl.DataFrame(
        {
            "statement": [claim.statement for claim, _, _ in evaluated],
            "where": [claim.where for claim, _, _ in evaluated],
            "model": [model for _, model, _ in evaluated],
            "statistic": [claim.statistic for claim, _, _ in evaluated],
            "rule": [claim.rule.title for claim, _, _ in evaluated],
            "value": [finding.value for _, _, finding in evaluated],
            "verdict": [finding.verdict for _, _, finding in evaluated],
            "why": [finding.why for _, _, finding in evaluated],
        },
        schema_overrides={"model": pl.String},
    )
