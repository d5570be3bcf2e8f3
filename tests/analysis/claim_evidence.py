"""Tables made by hand that speak for a statement of the paper, against it, or for neither."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import get_args

import polars as pl

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.tasks.base import TaskRole
from tamt_ray.values.model import ModelRole

ROLES = {name: name for name in ("random", "omp", "imp", "tamt_mlm", "tamt_kd", "tamt_mlm_kd")}
SEEDS = (1, 2, 3)
_RUNS = {"method": pl.String, "sparsity": pl.Float64, "mask_seed": pl.Int64,
         "checkpoint": pl.Int64, "train_size": pl.Int64, "seed": pl.Int64, "task": pl.String,
         "score": pl.Float64}  # fmt: skip
_LOSSES = {"method": pl.String, "sparsity": pl.Float64, "mask_seed": pl.Int64,
           "checkpoint": pl.Int64, "mlm_loss": pl.Float64, "kd_loss": pl.Float64}  # fmt: skip
POINTS = {"method": pl.String, "sparsity": pl.Float64, "score": pl.Float64,
           "mlm_loss": pl.Float64, "kd_loss": pl.Float64}  # fmt: skip
_DISTANCES = {"sparsity": pl.Float64, "method_a": pl.String, "method_b": pl.String,
              "seed_a": pl.Int64, "seed_b": pl.Int64, "checkpoint_a": pl.Int64,
              "checkpoint_b": pl.Int64, "macro": pl.Float64}  # fmt: skip
_COSTS = {"sparsity": pl.Float64, "method": pl.String, "imp_seconds": pl.Float64,
          "at_first": pl.Boolean, "iterations_ratio": pl.Float64, "iterations_low": pl.Float64,
          "iterations_high": pl.Float64, "seconds_ratio": pl.Float64, "seconds_low": pl.Float64,
          "seconds_high": pl.Float64, "reached": pl.Float64, "device": pl.String}  # fmt: skip

EMPTY = Evidence(
    family="bert", roles=ROLES, random_init={}, task="t",
    tasks={role: role for role in get_args(TaskRole)}, runs=pl.DataFrame(schema=_RUNS),
    reduced=pl.DataFrame(schema=_RUNS), losses=pl.DataFrame(schema=_LOSSES),
    points=pl.DataFrame(schema=POINTS), distances=pl.DataFrame(schema=_DISTANCES),
    costs=pl.DataFrame(schema=_COSTS), stsb_costs=pl.DataFrame(schema=_COSTS),
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


def ninety(sparsity: float, family: ModelRole = "bert") -> Maker:
    def make(sign: int) -> Evidence:
        difference, noise = level(sign)
        scores: dict[Name, float] = {("full", 0.0): 80, ("random", sparsity): 20}
        scores["omp", sparsity] = 72 + difference
        scores["imp", sparsity] = 79
        return replace(EMPTY, family=family, runs=runs_table(scores, noise))

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


def losses(lowered: str, role: str, other: str = "omp", *, both: bool = False) -> Maker:
    """A loss of `role` that is lower than that of `other`, or higher, or lost in noise; `both`:
    the other loss, too."""

    def make(sign: int) -> Evidence:
        difference, noise = level(sign)
        rows = []
        for sparsity in (0.6, 0.7):
            for method, loss in ((other, 5.0), (role, 5.0 - difference / 5)):
                for mask in masks_of(method):
                    value = loss + noise / 5 * jitter(method, sparsity, mask)
                    found = dict.fromkeys(("mlm_loss", "kd_loss"), value if both else 1.0)
                    found[lowered] = value
                    rows.append((method, sparsity, mask, None, *found.values()))
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
        return replace(EMPTY, points=pl.DataFrame(rows, schema=POINTS, orient="row"))

    return make


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


def costs(
    of: str,
    values: Mapping[int, tuple[float, float, float]],
    sparsity: float = 0.7,
    table: str = "costs",
) -> Maker:
    def make(sign: int) -> Evidence:
        ratio, low, high = values[sign]
        found = dict.fromkeys(_COSTS) | {
            "sparsity": sparsity, "method": "tamt_kd", "imp_seconds": 60.0, "at_first": False,
            "reached": 1.0, "device": "gpu", f"{of}_ratio": ratio, f"{of}_low": low,
            f"{of}_high": high,
        }  # fmt: skip
        return replace(EMPTY, **{table: pl.DataFrame([found], schema=_COSTS)})

    return make


QUICKER = {1: (3.0, 2.0, 4.0), -1: (0.5, 0.3, 0.8), 0: (2.0, 0.7, 5.0)}
SLOWER = {1: (0.5, 0.3, 0.8), -1: (3.0, 2.0, 4.0), 0: (2.0, 0.7, 5.0)}
ABOUT = {1: (8.0, 6.0, 11.0), -1: (2.0, 1.5, 3.0), 0: (8.0, 2.0, 40.0)}


def same(a: str, b: str, at: tuple[float, ...] = (0.6, 0.7, 0.8, 0.9), task: str = "t") -> Maker:
    """a as good as b, far from it, or lost in noise."""

    def make(sign: int) -> Evidence:
        difference, noise = {1: (0.2, 0.1), -1: (5.0, 0.1), 0: (0.2, 9.0)}[sign]
        scores: dict[Name, float] = {}
        for sparsity in at:
            scores[a, sparsity], scores[b, sparsity] = 60 + difference, 60
        return replace(EMPTY, runs=runs_table(scores, noise, task))

    return make


def mild_decline(sign: int) -> Evidence:
    """IMP is ten points behind at 50 % in any case; only the decline differs."""
    difference, noise = level(sign)
    scores: dict[Name, float] = {("imp", 0.5): 60, ("omp", 0.5): 70, ("omp", 0.9): 40}
    scores["imp", 0.9] = 30 + difference
    return replace(EMPTY, runs=runs_table(scores, noise))


def half_left(sign: int) -> Evidence:
    score, noise = {1: (40, 0.1), -1: (60, 0.1), 0: (40, 30.0)}[sign]
    scores: dict[Name, float] = {("full", 0.0): 80, ("random", 0.9): 10}
    scores["omp", 0.9], scores["imp", 0.9] = 25, score
    return replace(EMPTY, runs=runs_table(scores, noise))


def best_at_sixty(sign: int) -> Evidence:
    difference, noise = level(sign)
    scores: dict[Name, float] = {("tamt_mlm", s): 60 for s in (0.6, 0.7, 0.8)}
    scores |= {("tamt_kd", 0.6): 60 + difference, ("tamt_kd", 0.7): 60 - difference}
    scores["tamt_kd", 0.8] = 60 - difference
    return replace(EMPTY, runs=runs_table(scores, noise))


def fragile_roberta(sign: int) -> Evidence:
    """Above BERT at 30 %; below it at 70 %, or not, or lost in noise."""
    difference, noise = level(sign)
    of_bert = runs_table({("omp", 0.3): 70, ("omp", 0.7): 50}, noise)
    lead = 9 if sign else 0
    ours = runs_table({("omp", 0.3): 70 + lead, ("omp", 0.7): 50 - difference}, 1.1 * noise)
    return replace(EMPTY, family="roberta", runs=ours, bert=replace(EMPTY, runs=of_bert))


def widening(sign: int) -> Evidence:
    difference, noise = level(sign)
    scores: dict[Name, float] = {("omp", 0.2): 80, ("random", 0.2): 70, ("omp", 0.5): 60}
    scores["random", 0.5] = 50 - difference
    tables = [runs_table(scores, noise, task) for task in ("rte", "mnli", "squad")]
    return replace(EMPTY, runs=pl.concat(tables))


def rising(method: str) -> Maker:
    """Scores at four checkpoints that rise, fall or neither; the final mask does not matter."""

    def make(sign: int) -> Evidence:
        difference, noise = level(sign)
        scores: dict[Name, float] = {
            (method, 0.7, 1000 * 2**k): 50 + difference * k for k in range(4)
        }
        scores[method, 0.7] = 0
        return replace(EMPTY, runs=runs_table(scores, noise), random_init={"tamt_kd": "kd_random"})

    return make


def moving_away(sign: int) -> Evidence:
    """TAMT-MLM's masks leave OMP's, come back, or neither; TAMT-KD's stay."""
    difference, noise = level(sign)
    rows = [
        (0.7, "omp", method, None, seed, None, 1000 * 2**k,
         0.5 + slope * k + noise / 200 * jitter(method, seed, k))
        for method, slope in (("tamt_mlm", difference / 100), ("tamt_kd", 0.0))
        for seed in SEEDS
        for k in range(4)
    ]  # fmt: skip
    rows += [(0.7, "omp", "tamt_mlm", None, seed, None, None, 0.0) for seed in SEEDS]
    return replace(EMPTY, distances=pl.DataFrame(rows, schema=_DISTANCES, orient="row"))


def furthest_pair(sign: int) -> Evidence:
    """IMP and TAMT-MLM against IMP and TAMT-KD, and against OMP and TAMT-KD."""
    difference, noise = level(sign)
    rows = [
        (0.7, "imp", method, ours, theirs, None, None,
         0.4 + more + noise / 100 * jitter("imp", method, ours, theirs))
        for method, more in (("tamt_mlm", difference / 100), ("tamt_kd", 0.0))
        for ours in SEEDS
        for theirs in SEEDS
    ]  # fmt: skip
    rows += [(0.7, "omp", "tamt_kd", None, seed, None, None, 0.01 * seed) for seed in SEEDS]
    return replace(EMPTY, distances=pl.DataFrame(rows, schema=_DISTANCES, orient="row"))


def peaks(task: str) -> Maker:
    def make(sign: int) -> Evidence:
        difference, noise = level(sign)
        scores: dict[Name, float] = {}
        for size, more in ((1000, 0), (5000, difference), (10_000, difference), (None, 0)):
            scores["imp", 0.7, size] = 50
            scores["tamt_mlm", 0.7, size] = scores["tamt_kd", 0.7, size] = 55 + more
        return replace(EMPTY, reduced=runs_table(scores, noise, task))

    return make
