"""Each statement of the paper gets each of the three verdicts from tables made by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamt_ray.analysis.claims import losses as claims_losses
from tamt_ray.analysis.claims import masks as claims_masks
from tamt_ray.analysis.claims import scores as claims_scores
from tamt_ray.analysis.claims.catalogue import CLAIMS, evaluate_claims
from tamt_ray.analysis.claims.verdict import equivalent, everywhere, somewhere, within
from tamt_ray.analysis.stats.effect import Design, Effect

from .claim_evidence import (
    ABOUT,
    EMPTY,
    POINTS,
    QUICKER,
    ROLES,
    SEEDS,
    SLOWER,
    Maker,
    above,
    best_at_sixty,
    costs,
    foretells,
    fragile_roberta,
    furthest_pair,
    half_left,
    losses,
    mild_decline,
    moving_away,
    near_omp,
    ninety,
    omp_against_random,
    peaks,
    random_worst,
    rising,
    runs_table,
    same,
    similar,
    starts,
    widening,
)

MAKERS: dict[str, Maker] = {
    "Random pruning is below all the rest (in the paper far below).": random_worst,
    "At 50 % all but random keep 90 % of the dense model.": ninety(0.5),
    "At 30 % all but random keep 90 % of the dense model.": ninety(0.3, "roberta"),
    "TAMT-MLM is better than IMP at 60–90 %.": above("tamt_mlm", "imp"),
    "TAMT-KD is better than IMP at 60–90 %.": above("tamt_kd", "imp"),
    "TAMT-KD is slightly better than IMP at 60–90 %.": above("tamt_kd", "imp"),
    "TAMT-MLM+KD is better than IMP at 60–90 %.": above("tamt_mlm_kd", "imp"),
    "IMP is better than OMP at 60–90 %.": above("imp", "omp"),
    "TAMT-KD is weak on RoBERTa at 70–90 %.": above("tamt_mlm", "tamt_kd", (0.7, 0.8, 0.9)),
    "TAMT-MLM+KD is about as good as TAMT-MLM.": same("tamt_mlm_kd", "tamt_mlm"),
    "TAMT-MLM+KD is slightly better than TAMT-MLM.": above("tamt_mlm_kd", "tamt_mlm"),
    "IMP declines more mildly than OMP up to 90 %.": mild_decline,
    "At 90 % about half of the dense model's score is left.": half_left,
    "TAMT-KD is the best at 60 %, TAMT-MLM above.": best_at_sixty,
    "At 50 % lower losses bring little or no improvement of the score.": same("imp", "omp", (0.5,)),
    "RoBERTa falls below BERT.": fragile_roberta,
    "There is no clear gain on MRPC.": same("tamt_kd", "imp", task="mrpc"),
    "There is no clear gain on RTE.": same("tamt_kd", "imp", task="rte"),
    "The gap of OMP and random widens on RTE, MNLI and SQuAD.": widening,
    "Scores that start from OMP beat those that start at random.": starts,
    "Scores rise with the steps of a search that starts from OMP.": rising("tamt_mlm"),
    "Scores rise with the steps of a search that starts at random.": rising("kd_random"),
    "With less data for MNLI the advantage of TAMT first grows, then shrinks.": peaks("mnli"),
    "With less data for SQuAD the advantage of TAMT first grows, then shrinks.": peaks("squad"),
    "MLM training lowers the KD loss too.": losses("kd_loss", "tamt_mlm"),
    "KD training lowers the MLM loss too.": losses("mlm_loss", "tamt_kd"),
    "The lower the MLM loss, the better the score.": foretells(),
    "The lower the KD loss, the better the score.": foretells(),
    "TAMT-MLM has the lowest MLM loss.": losses("mlm_loss", "tamt_mlm", "tamt_kd"),
    "TAMT-KD has the lowest KD loss.": losses("kd_loss", "tamt_kd", "imp"),
    "IMP's losses lie below OMP's.": losses("kd_loss", "imp", both=True),
    "At 60–80 % OMP has a worse MLM loss than random and yet a better score.": omp_against_random,
    "KD masks stay near OMP, MLM masks move away.": near_omp,
    "Jaccard(TAMT-MLM, IMP) is 0.75 at 60 %.": similar(
        0.6, {1: (0.75, 0.01), -1: (0.5, 0.01), 0: (0.72, 0.2)}
    ),
    "Jaccard(TAMT-MLM, IMP) is below 0.6 at 80 %.": similar(
        0.8, {1: (0.5, 0.01), -1: (0.7, 0.01), 0: (0.59, 0.2)}
    ),
    "TAMT reaches IMP's best score in fewer iterations.": costs("iterations", QUICKER),
    "TAMT reaches IMP's best score in less time.": costs("seconds", QUICKER),
    "These are 8.4 times fewer.": costs("iterations", ABOUT),
    "This is 8.7 times less.": costs("seconds", ABOUT),
    "TAMT-KD is slower than IMP at 80 %.": costs("iterations", SLOWER, 0.8),
    "On STS-B, an exception, TAMT-KD is quicker than IMP at 80 %.": costs(
        "iterations", QUICKER, 0.8, "stsb_costs"
    ),
    "The longer the search, the further MLM masks are from OMP; KD masks move less.": moving_away,
    "IMP and TAMT-MLM are the most dissimilar pair of masks.": furthest_pair,
}
"""By statement of the catalogue."""
TESTS = {claim.statement: claim.test for claim in CLAIMS}
VERDICTS = {1: "supported", -1: "contradicted", 0: "not decidable"}


def test_every_claim_has_its_evidence() -> None:
    assert set(TESTS) == set(MAKERS)


@pytest.mark.parametrize("sign", VERDICTS)
@pytest.mark.parametrize("statement", MAKERS)
def test_three_verdicts(statement: str, sign: int) -> None:
    finding = TESTS[statement](MAKERS[statement](sign))
    assert finding.verdict == VERDICTS[sign], finding
    assert finding.value


@pytest.mark.parametrize("statement", MAKERS)
def test_no_data_no_verdict(statement: str) -> None:
    for evidence in (EMPTY, replace(EMPTY, roles={})):
        finding = TESTS[statement](evidence)
        assert finding.verdict == "not decidable"
        assert finding.why


def test_the_model_decides_where_ninety_percent_is_asked_for() -> None:
    roberta = replace(ninety(0.3)(1), family="roberta")
    assert claims_scores.keeps_ninety_percent(roberta).verdict == "supported"
    assert claims_scores.keeps_ninety_percent(ninety(0.3)(1)).verdict == "not decidable"


def test_statements_about_a_model_are_asked_of_that_model() -> None:
    evaluated = evaluate_claims({"mini": EMPTY, "big": replace(EMPTY, family="roberta")})
    about = [(claim.family, model) for claim, model, _ in evaluated if not claim.elsewhere]
    assert {pair for pair in about if pair[0]} == {("bert", "mini"), ("roberta", "big")}
    alone = evaluate_claims({"mini": EMPTY})
    assert {f.why for c, m, f in alone if m is None} == {"the sweep has no RoBERTa"}
    assert len({claim for claim, _, _ in alone}) == len(CLAIMS)


def test_a_model_without_a_role_is_in_no_claim() -> None:
    nobody = replace(EMPTY, family=None)
    assert evaluate_claims({"mine": nobody}) == []
    assert {m for _, m, _ in evaluate_claims({"mine": nobody, "mini": EMPTY})} == {"mini", None}
    assert claims_scores.no_gain(replace(EMPTY, tasks={}), "rte").why == "no task has `role: rte`"


@pytest.mark.parametrize(
    ("family", "of_paper", "verdict"),
    [("bert", True, "contradicted"), ("bert", False, "does not hold here"),
     ("roberta", True, "does not hold here")],
)  # fmt: skip
def test_only_the_model_of_a_statement_contradicts_it(
    family: str, of_paper: bool, verdict: str
) -> None:
    """Fig. 8 is about BERT."""
    evidence = replace(near_omp(-1), family=family, of_paper=of_paper)
    verdicts = {
        claim.test: finding.verdict for claim, _, finding in evaluate_claims({"m": evidence})
    }
    assert verdicts[claims_masks.kd_stays_near_omp] == verdict


@pytest.mark.parametrize("lonely", ["seed", "mask_seed"])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_seed_gives_no_verdict(lonely: str, sign: int) -> None:
    """However large the difference is."""
    evidence = above("tamt_mlm", "imp")(sign)
    single = replace(evidence, runs=evidence.runs.filter(pl.col(lonely) == 1))
    finding = claims_scores.beats(single, "tamt_mlm", "imp")
    assert finding.verdict == "not decidable"
    words = {"seed": "one fine-tuning seed", "mask_seed": "one mask seed"}[lonely]
    assert finding.why == f"{words}: everywhere"
    costly = costs("iterations", QUICKER)(sign)
    unknown = costly.costs.with_columns(reached=pl.lit(None, pl.Float64))
    finding = claims_masks.quicker(replace(costly, costs=unknown), "iterations")
    assert finding.verdict == "not decidable"
    assert finding.why == "one mask seed or one fine-tuning seed"


def test_kd_too_far_to_reach_imp_is_slower() -> None:
    evidence = costs("iterations", SLOWER, 0.8)(-1)
    never = evidence.costs.with_columns(
        *(pl.lit(None, pl.Float64).alias(f"iterations_{n}") for n in ("ratio", "low", "high")),
        reached=pl.lit(0.01),
    )
    finding = claims_masks.kd_is_slower_at_eighty(replace(evidence, costs=never))
    assert finding.verdict == "supported"


def test_more_than_sixty_percent_left_is_not_half() -> None:
    """60 of 80 points are above the range; OMP and random pruning are not asked."""
    finding = claims_scores.half_is_left_at_ninety(half_left(-1))
    assert finding.why == "below 0: 0.6 × dense − imp"


def test_advantage_by_training_size() -> None:
    """55 and ten more in between, less IMP's 50; all of the data comes last."""
    found = claims_scores.advantages("mnli", peaks("mnli")(1))
    means = {size: np.mean([*values.values()]) for size, values in found.items()}
    assert list(means) == [1000, 5000, 10_000, None]
    assert list(means.values()) == pytest.approx([5, 15, 15, 5], abs=0.1)
    assert claims_scores.advantages("squad", peaks("mnli")(1)) == {}


def test_gaps_of_two_tasks_do_not_stand_for_a_third() -> None:
    evidence = widening(1)
    two = replace(evidence, runs=evidence.runs.filter(pl.col("task") != "squad"))
    assert claims_scores.gap_to_random_widens(two).why == "not tested: squad"


def test_small_is_within_a_point() -> None:
    """Supported takes the whole interval; beyond ±1 alone is no contradiction."""
    tight = np.array([[0.4, 0.5, 0.3], [0.5, 0.6, 0.4], [0.3, 0.4, 0.2]])
    assert equivalent({"a": Design(tight)}).verdict == "supported"
    assert equivalent({"a": Design(tight + 5)}).verdict == "contradicted"
    assert equivalent({"a": Design(-tight - 5)}).verdict == "contradicted"
    near = equivalent({"a": Design(tight), "b": Design(tight + 0.8)})
    assert (near.verdict, near.why) == ("not decidable", "within ±2 points, not within ±1")
    wide = equivalent({"a": Design(10 * (tight - 0.4))})
    assert (wide.verdict, wide.why) == ("not decidable", "an interval reaches beyond ±2 points")
    lonely = equivalent({"a": Design(tight[:, :1])})
    assert (lonely.verdict, lonely.why) == ("not decidable", "one fine-tuning seed: a")


def test_one_place_is_enough_somewhere() -> None:
    up, down = Effect(2, 1, 3, 0.001, 3, 3), Effect(-2, -3, -1, 0.01, 3, 3)
    assert somewhere({"a": down, "b": up}).why == "above 0: b"
    assert somewhere({"a": down, "b": down}).verdict == "contradicted"
    assert somewhere({"a": down, "b": Effect(2)}).verdict == "not decidable"
    weak = Effect(2, 0.1, 3.9, 0.03, 3, 3)
    assert somewhere({"a": weak}).verdict == "supported"
    assert somewhere({"a": weak, "b": weak}).verdict == "not decidable"


def test_of_many_differences_the_smallest_is_shown() -> None:
    scores = {(role, s): 50.0 + 10 * (role != "random") for role in ROLES for s in (0.5, 0.7)}
    scores["imp", 0.7] = 55.0
    found = claims_scores.random_is_worst(replace(EMPTY, runs=runs_table(scores, 0.1)))
    assert found.verdict == "supported"
    assert found.value.startswith("least of 10: imp, 70 %: +")


def test_time_on_two_devices_does_not_compare() -> None:
    evidence = costs("seconds", QUICKER)(1)
    mixed = evidence.costs.with_columns(device=pl.lit("cpu / gpu"))
    finding = claims_masks.quicker(replace(evidence, costs=mixed), "seconds")
    assert finding.verdict == "not decidable"
    assert "different devices" in finding.why


def test_what_is_never_reached_is_contradicted() -> None:
    evidence = costs("iterations", QUICKER)(1)
    never = evidence.costs.with_columns(
        *(pl.lit(None, pl.Float64).alias(f"iterations_{n}") for n in ("ratio", "low", "high")),
        reached=pl.lit(0.01),
    )
    evidence = replace(evidence, costs=never)
    for finding in (
        claims_masks.quicker(evidence, "iterations"),
        claims_masks.ratio_is_about(evidence, "iterations", 8.4),
    ):
        assert finding.verdict == "contradicted"
        assert "not reached" in finding.value


def test_one_place_of_several_decides() -> None:
    """All above 0 is needed, one below 0 is enough; Holm's correction asks it to be clear."""
    up, down = Effect(2, 1, 3, 0.001, 3, 3), Effect(-2, -3, -1, 0.01, 3, 3)
    assert everywhere({"a": up, "b": up}).verdict == "supported"
    assert everywhere({"a": up, "b": down}).verdict == "contradicted"
    weak = Effect(-2, -3.9, -0.1, 0.03, 3, 3)
    assert everywhere({"a": weak, "b": weak}).verdict == "not decidable"
    assert everywhere({"a": weak}).verdict == "contradicted"
    assert everywhere({"a": up, "b": Effect(2)}).verdict == "not decidable"
    assert everywhere({"a": up, "b": None}).verdict == "not decidable"
    assert everywhere({"a": up}, lacking=["90 %"]).why == "not tested: 90 %"


def test_inside_outside_across() -> None:
    assert within(Effect(0.75, 0.72, 0.78, 0.1, 3, 3), 0.7, 0.8).verdict == "supported"
    assert within(Effect(0.55, 0.5, 0.6, 0.1, 3, 3), 0.7, 0.8).verdict == "contradicted"
    assert within(Effect(0.7, 0.6, 0.75, 0.1, 3, 3), 0.7, 0.8).verdict == "not decidable"
    assert within(Effect(0.75), 0.7, 0.8).verdict == "not decidable"


@pytest.mark.parametrize("loss", ["mlm_loss", "kd_loss"])
def test_what_follows_the_sparsity_alone_is_no_correlation(loss: str) -> None:
    """Within each sparsity a higher loss goes with a better score; over all of them, since both
    follow the sparsity, a lower one does."""
    rows = [
        (method, sparsity, score + number, value + number / 10, value + number / 10)
        for sparsity, value, score in ((0.5, 2.0, 80.0), (0.7, 5.0, 60.0), (0.9, 8.0, 35.0))
        for number, method in enumerate([*ROLES][1:])
        for _ in SEEDS
    ]
    points = pl.DataFrame(rows, schema=POINTS, orient="row")
    assert points.select(pl.corr(loss, "score", method="spearman")).item() < -0.7
    finding = claims_losses.foretells_score(replace(EMPTY, points=points), loss)
    assert finding.verdict == "contradicted"


def test_both_starts_are_compared_by_the_average_that_both_have() -> None:
    """In a union of sweeps the ones that start at random are fine-tuned on five of seven tasks."""
    rows = [
        (method, 0.7, mask, None, seed, task, score + noise * seed + mask / 10)
        for method, score, noise in (("tamt_mlm", 60.0, 1.0), ("tamt_mlm_random", 50.0, 0.8))
        for task in ("(average)", "(average of five)")
        for mask in (1, 2)
        for seed in (1, 2, 3)
        if task != "(average)" or method == "tamt_mlm"
    ]
    schema = ["method", "sparsity", "mask_seed", "checkpoint", "seed", "task", "score"]
    evidence = replace(
        EMPTY, task="(average)", runs=pl.DataFrame(rows, schema=schema, orient="row"),
        random_init={"tamt_mlm": "tamt_mlm_random"},
    )  # fmt: skip
    claim = claims_scores.omp_init_beats_random_init
    assert claim(evidence).verdict == "not decidable"
    assert claim(replace(evidence, leading="(average of five)")).verdict == "supported"
