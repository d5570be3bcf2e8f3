"""Each statement of the paper gets each of the three verdicts from tables made by hand."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl
import pytest

from tamt_ray.analysis import claims_losses, claims_masks, claims_scores
from tamt_ray.analysis.claims import CLAIMS, judge_claims
from tamt_ray.analysis.effect import Effect
from tamt_ray.analysis.evidence import Evidence
from tamt_ray.analysis.verdict import Finding, everywhere, within

ROLES = {name: name for name in ("random", "omp", "imp", "tamt_mlm", "tamt_kd", "tamt_mlm_kd")}
SEEDS = (1, 2, 3)
_RUNS = {"method": pl.String, "sparsity": pl.Float64, "mask_seed": pl.Int64,
         "checkpoint": pl.Int64, "train_size": pl.Int64, "seed": pl.Int64, "task": pl.String,
         "score": pl.Float64}  # fmt: skip
_LOSSES = {"method": pl.String, "sparsity": pl.Float64, "mask_seed": pl.Int64,
           "checkpoint": pl.Int64, "mlm_loss": pl.Float64, "kd_loss": pl.Float64}  # fmt: skip
_POINTS = {"method": pl.String, "sparsity": pl.Float64, "score": pl.Float64,
           "mlm_loss": pl.Float64, "kd_loss": pl.Float64}  # fmt: skip
_DISTANCES = {"sparsity": pl.Float64, "method_a": pl.String, "method_b": pl.String,
              "seed_a": pl.Int64, "seed_b": pl.Int64, "checkpoint_a": pl.Int64,
              "checkpoint_b": pl.Int64, "macro": pl.Float64}  # fmt: skip
_COSTS = {"sparsity": pl.Float64, "method": pl.String, "imp_seconds": pl.Float64,
          "at_first": pl.Boolean, "iterations_ratio": pl.Float64, "iterations_low": pl.Float64,
          "iterations_high": pl.Float64, "seconds_ratio": pl.Float64, "seconds_low": pl.Float64,
          "seconds_high": pl.Float64, "reached": pl.Float64, "device": pl.String}  # fmt: skip

EMPTY = Evidence(
    family="bert", roles=ROLES, random_init={}, task="t", runs=pl.DataFrame(schema=_RUNS),
    reduced=pl.DataFrame(schema=_RUNS), losses=pl.DataFrame(schema=_LOSSES),
    points=pl.DataFrame(schema=_POINTS), distances=pl.DataFrame(schema=_DISTANCES),
    costs=pl.DataFrame(schema=_COSTS),
)  # fmt: skip

Name = tuple[str, float] | tuple[str, float, int | None]


def masks_of(method: str) -> tuple[int | None, ...]:
    return (None,) if method in {"omp", "full"} else SEEDS


def jitter(*labels: object) -> float:
    """In [-1, 1], another for other labels, the same every time."""
    return random.Random(" ".join(map(str, labels))).uniform(-1, 1)


def runs_table(scores: Mapping[Name, float], noise: float, task: str = "t") -> pl.DataFrame:
    """Scores of each (method, sparsity[, checkpoint or size]) under all its seeds."""
    rows = [
        (method, sparsity, mask, *(key or (None,)) * 2, seed, task,
         score + noise * jitter(method, sparsity, key, mask, seed))
        for (method, sparsity, *key), score in scores.items()
        for mask in masks_of(method)
        for seed in SEEDS
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=_RUNS, orient="row")


Maker = Callable[[int], Evidence]
"""Evidence for a statement (1), against it (-1), and for neither (0)."""


def level(sign: int) -> tuple[float, float]:
    """The difference, and the noise on both sides of it."""
    return {1: (10.0, 0.1), -1: (-10.0, 0.1), 0: (1.0, 30.0)}[sign]


def above(a: str, b: str, at: tuple[float, ...] = (0.6, 0.7, 0.8, 0.9)) -> Maker:
    def make(sign: int) -> Evidence:
        difference, noise = level(sign)
        scores: dict[Name, float] = {}
        for sparsity in at:
            scores[a, sparsity], scores[b, sparsity] = 60 + difference, 60
        return replace(EMPTY, runs=runs_table(scores, noise))

    return make


def random_worst(sign: int) -> Evidence:
    difference, noise = level(sign)
    scores: dict[Name, float] = {("random", 0.5): 40, ("omp", 0.5): 60, ("imp", 0.5): 70}
    scores["tamt_kd", 0.5] = 40 + difference
    return replace(EMPTY, runs=runs_table(scores, noise))


def ninety(sparsity: float) -> Maker:
    def make(sign: int) -> Evidence:
        difference, noise = level(sign)
        scores: dict[Name, float] = {("full", 0.0): 80, ("random", sparsity): 20}
        scores["omp", sparsity] = 72 + difference
        scores["imp", sparsity] = 79
        return replace(EMPTY, runs=runs_table(scores, noise))

    return make


def starts(sign: int) -> Evidence:
    difference, noise = level(sign)
    scores: dict[Name, float] = {}
    for steps in (None, 1000):
        scores["tamt_kd", 0.7, steps] = 60 + difference
        scores["kd_random", 0.7, steps] = 60
    scores["tamt_kd", 0.7, 2000] = 0
    found = runs_table(scores, noise)
    return replace(EMPTY, runs=found, random_init={"tamt_kd": "kd_random"})


def losses(lowered: str, role: str) -> Maker:
    def make(sign: int) -> Evidence:
        difference, noise = level(sign)
        rows = []
        for sparsity in (0.6, 0.7):
            for method, loss in (("omp", 5.0), (role, 5.0 - difference / 5)):
                for mask in masks_of(method):
                    both = {"mlm_loss": 1.0, "kd_loss": 1.0}
                    both[lowered] = loss + noise / 5 * jitter(method, sparsity, mask)
                    rows.append((method, sparsity, mask, None, *both.values()))
        return replace(EMPTY, losses=pl.DataFrame(rows, schema=_LOSSES, orient="row"))

    return make


def foretells(sparsities: tuple[float, ...] = (0.5, 0.7, 0.9)) -> Maker:
    """Five methods; a lower loss means a higher score, a lower one, or nothing."""

    def make(sign: int) -> Evidence:
        rows = []
        for number, method in enumerate([*ROLES][1:]):
            for place, sparsity in enumerate(sparsities):
                rank = 3 * number + place
                loss = {1: -rank, -1: rank, 0: rank * 7 % 5}[sign] + 20.0
                rows += [(method, sparsity, 50.0 + rank, loss, loss + seed / 9) for seed in SEEDS]
        rows.append(("full", 0.0, 99.0, 0.0, 0.0))
        return replace(EMPTY, points=pl.DataFrame(rows, schema=_POINTS, orient="row"))

    return make


def fifty(sign: int) -> Evidence:
    """For "no relation": within each method score and loss are unrelated, and all methods alike;
    against it: a lower loss, a better score; for neither: two methods apart, by chance."""
    if sign == -1:
        return foretells((0.5,))(1)
    rows = []
    for number, method in enumerate([*ROLES][1:]):
        for k in range(24):
            loss, score = (k * 7 % 24, k * 13 % 24) if sign == 1 else (number * 7 % 5, number)
            rows.append((method, 0.5, float(score), float(loss), float(loss)))
    rows += [("random", 0.5, 0.0, 99.0, 99.0)] * 3
    return replace(EMPTY, points=pl.DataFrame(rows, schema=_POINTS, orient="row"))


def omp_against_random(sign: int) -> Evidence:
    difference, noise = level(sign)
    at = (0.6, 0.7, 0.8)
    scores: dict[Name, float] = {}
    rows = []
    for sparsity in at:
        scores["omp", sparsity], scores["random", sparsity] = 60, 30
        rows.append(("omp", sparsity, None, None, 8 + difference / 10, 0.5))
        rows += [("random", sparsity, m, None, 8 + noise / 10 * jitter("random", sparsity, m), 0.6)
                 for m in SEEDS]  # fmt: skip
    found = pl.DataFrame(rows, schema=_LOSSES, orient="row")
    return replace(EMPTY, runs=runs_table(scores, 0.1), losses=found)


def near_omp(sign: int) -> Evidence:
    difference, noise = level(sign)
    rows = [
        (0.7, "omp", method, None, seed, None, None,
         0.5 + base + noise / 100 * jitter(method, seed))
        for method, base in (("tamt_mlm", difference / 50), ("tamt_kd", 0.0))
        for seed in SEEDS
    ]  # fmt: skip
    rows.append((0.7, "omp", "tamt_kd", None, 1, None, 900, 9.0))
    return replace(EMPTY, distances=pl.DataFrame(rows, schema=_DISTANCES, orient="row"))


def similar(sparsity: float, values: Mapping[int, tuple[float, float]]) -> Maker:
    """Jaccard and its noise for, against and neither, in either order of the two methods."""

    def make(sign: int) -> Evidence:
        value, noise = values[sign]
        rows = [
            (sparsity, "imp", "tamt_mlm", ours, theirs, None, None,
             1 - value + noise * jitter(ours, theirs))
            for ours in SEEDS
            for theirs in SEEDS
        ]  # fmt: skip
        return replace(EMPTY, distances=pl.DataFrame(rows, schema=_DISTANCES, orient="row"))

    return make


def costs(of: str, values: Mapping[int, tuple[float, float, float]]) -> Maker:
    def make(sign: int) -> Evidence:
        ratio, low, high = values[sign]
        found = dict.fromkeys(_COSTS) | {
            "sparsity": 0.7, "method": "tamt_kd", "imp_seconds": 60.0, "at_first": False,
            "reached": 1.0, "device": "gpu", f"{of}_ratio": ratio, f"{of}_low": low,
            f"{of}_high": high,
        }  # fmt: skip
        return replace(EMPTY, costs=pl.DataFrame([found], schema=_COSTS))

    return make


QUICKER = {1: (3.0, 2.0, 4.0), -1: (0.5, 0.3, 0.8), 0: (2.0, 0.7, 5.0)}
ABOUT = {1: (8.0, 6.0, 11.0), -1: (2.0, 1.5, 3.0), 0: (8.0, 2.0, 40.0)}


def peaks(task: str) -> Maker:
    def make(sign: int) -> Evidence:
        difference, noise = level(sign)
        scores: dict[Name, float] = {}
        for size, more in ((1000, 0), (5000, difference), (10_000, difference), (None, 0)):
            scores["imp", 0.7, size] = 50
            scores["tamt_mlm", 0.7, size] = scores["tamt_kd", 0.7, size] = 55 + more
        return replace(EMPTY, reduced=runs_table(scores, noise, task))

    return make


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
    points = pl.DataFrame(rows, schema=_POINTS, orient="row")
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
