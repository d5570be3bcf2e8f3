"""Each statement of the paper gets each of the three verdicts from tables made by hand."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from tamt_ray.analysis import claims_losses, claims_masks, claims_scores
from tamt_ray.analysis.claims import CLAIMS, judge_claims
from tamt_ray.analysis.effect import Effect
from tamt_ray.analysis.evidence import Evidence
from tamt_ray.analysis.verdict import Finding, everywhere, within

from .claim_evidence import (
    ABOUT,
    EMPTY,
    POINTS,
    QUICKER,
    ROLES,
    SEEDS,
    Maker,
    above,
    costs,
    fifty,
    foretells,
    losses,
    near_omp,
    ninety,
    omp_against_random,
    peaks,
    random_worst,
    similar,
    starts,
)

MAKERS: dict[Callable[[Evidence], Finding], Maker] = {
    claims_scores.random_is_worst: random_worst,
    claims_scores.keeps_ninety_percent: ninety(0.5),
    claims_scores.tamt_mlm_beats_imp: above("tamt_mlm", "imp"),
    claims_scores.tamt_kd_beats_imp: above("tamt_kd", "imp"),
    claims_scores.tamt_mlm_kd_beats_imp: above("tamt_mlm_kd", "imp"),
    claims_scores.imp_beats_omp: above("imp", "omp"),
    claims_scores.kd_is_weak: above("tamt_mlm", "tamt_kd", (0.7, 0.8, 0.9)),
    claims_scores.omp_init_beats_random_init: starts,
    claims_scores.mnli_advantage_peaks: peaks("mnli"),
    claims_scores.squad_advantage_peaks: peaks("squad"),
    claims_losses.mlm_training_lowers_kd: losses("kd_loss", "tamt_mlm"),
    claims_losses.kd_training_lowers_mlm: losses("mlm_loss", "tamt_kd"),
    claims_losses.mlm_loss_foretells_score: foretells(),
    claims_losses.kd_loss_foretells_score: foretells(),
    claims_losses.no_correlation_at_fifty: fifty,
    claims_losses.omp_worse_loss_better_score: omp_against_random,
    claims_masks.kd_stays_near_omp: near_omp,
    claims_masks.jaccard_at_sixty: similar(0.6, {1: (0.75, 0.01), -1: (0.5, 0.01), 0: (0.72, 0.2)}),
    claims_masks.jaccard_at_eighty: similar(0.8, {1: (0.5, 0.01), -1: (0.7, 0.01), 0: (0.59, 0.2)}),
    claims_masks.fewer_iterations: costs("iterations", QUICKER),
    claims_masks.less_time: costs("seconds", QUICKER),
    claims_masks.iterations_ratio: costs("iterations", ABOUT),
    claims_masks.time_ratio: costs("seconds", ABOUT),
}
VERDICTS = {1: "supported", -1: "contradicted", 0: "not decidable"}


def test_every_claim_has_its_evidence() -> None:
    assert {claim.test for claim in CLAIMS} == set(MAKERS)


@pytest.mark.parametrize("sign", VERDICTS)
@pytest.mark.parametrize("claim", MAKERS, ids=lambda claim: claim.__name__)
def test_three_verdicts(claim: Callable[[Evidence], Finding], sign: int) -> None:
    finding = claim(MAKERS[claim](sign))
    assert finding.verdict == VERDICTS[sign], finding
    assert finding.value


@pytest.mark.parametrize("claim", MAKERS, ids=lambda claim: claim.__name__)
def test_no_data_no_verdict(claim: Callable[[Evidence], Finding]) -> None:
    for evidence in (EMPTY, replace(EMPTY, roles={})):
        finding = claim(evidence)
        assert finding.verdict == "not decidable"
        assert finding.why


def test_the_model_decides_where_ninety_percent_is_asked_for() -> None:
    roberta = replace(ninety(0.3)(1), family="roberta")
    assert claims_scores.keeps_ninety_percent(roberta).verdict == "supported"
    assert claims_scores.keeps_ninety_percent(ninety(0.3)(1)).verdict == "not decidable"


def test_statements_about_a_model_are_asked_of_that_model() -> None:
    judged = judge_claims({"mini": EMPTY, "big": replace(EMPTY, family="roberta")})
    about = [(claim.family, model) for claim, model, _ in judged if claim.family]
    assert set(about) == {("bert", "mini"), ("roberta", "big")}
    alone = judge_claims({"mini": EMPTY})
    assert {f.why for c, m, f in alone if m is None} == {"the sweep has no RoBERTa"}
    assert len({claim for claim, _, _ in alone}) == len(CLAIMS)


def test_time_on_two_devices_does_not_compare() -> None:
    evidence = costs("seconds", QUICKER)(1)
    mixed = evidence.costs.with_columns(device=pl.lit("cpu / gpu"))
    finding = claims_masks.less_time(replace(evidence, costs=mixed))
    assert finding.verdict == "not decidable"
    assert "different devices" in finding.why


def test_what_is_never_reached_is_contradicted() -> None:
    evidence = costs("iterations", QUICKER)(1)
    never = evidence.costs.with_columns(
        *(pl.lit(None, pl.Float64).alias(f"iterations_{n}") for n in ("ratio", "low", "high")),
        reached=pl.lit(0.01),
    )
    for claim in (claims_masks.fewer_iterations, claims_masks.iterations_ratio):
        finding = claim(replace(evidence, costs=never))
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
    claim = {
        "mlm_loss": claims_losses.mlm_loss_foretells_score,
        "kd_loss": claims_losses.kd_loss_foretells_score,
    }[loss]
    assert claim(replace(EMPTY, points=points)).verdict == "contradicted"


def test_both_starts_are_compared_by_the_average_that_both_have() -> None:
    """In a union of sweeps the ones that start at random are fine-tuned on five of seven tasks."""
    rows = [
        (method, 0.7, 1, None, seed, task, score + noise * seed)
        for method, score, noise in (("tamt_mlm", 60.0, 1.0), ("tamt_mlm_random", 50.0, 0.8))
        for task in ("(average)", "(average of five)")
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


def test_four_methods_are_too_few_against_no_relation() -> None:
    """Of their 24 pairings the best is 1, p .04, twice asked; of the 120 of five it is enough."""
    falling = foretells((0.5,))(1)
    # As in a sweep, where points have names.
    falling = replace(falling, points=falling.points.with_columns(unit=pl.lit("id")))
    assert claims_losses.no_correlation_at_fifty(falling).verdict == "contradicted"
    four = replace(falling, points=falling.points.filter(pl.col("method") != "omp"))
    finding = claims_losses.no_correlation_at_fifty(four)
    assert finding.verdict == "not decidable"
    assert "p 0.08" in finding.value
