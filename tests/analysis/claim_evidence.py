"""Tables made by hand that speak for a statement of the paper, against it, or for neither."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl

from tamt_ray.analysis.evidence import Evidence

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
    family="bert", roles=ROLES, random_init={}, task="t", runs=pl.DataFrame(schema=_RUNS),
    reduced=pl.DataFrame(schema=_RUNS), losses=pl.DataFrame(schema=_LOSSES),
    points=pl.DataFrame(schema=POINTS), distances=pl.DataFrame(schema=_DISTANCES),
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
        return replace(EMPTY, points=pl.DataFrame(rows, schema=POINTS, orient="row"))

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
    return replace(EMPTY, points=pl.DataFrame(rows, schema=POINTS, orient="row"))


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
