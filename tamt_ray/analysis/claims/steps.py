"""The paper's statements about the length and the start of a search (Fig. 6, 7)."""

from collections.abc import Sequence

import polars as pl

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import Finding, everywhere, percent, undecidable
from tamt_ray.analysis.roles import OBJECTIVES
from tamt_ray.analysis.stats.comparison import cells
from tamt_ray.analysis.stats.effect import Cells, Effect, design, effect, paired
from tamt_ray.analysis.stats.trend import per_doubling


def scores_rise_from_omp(evidence: Evidence) -> Finding:
    """Scores rise with the steps of a search that starts from OMP's mask."""
    return _rise([evidence.roles[role] for role in OBJECTIVES if role in evidence.roles], evidence)


def scores_rise_from_random(evidence: Evidence) -> Finding:
    """Scores rise with the steps of a search that starts from a random mask."""
    return _rise(list(evidence.random_init.values()), evidence)


def omp_init_beats_random_init(evidence: Evidence) -> Finding:
    """Scores that start from OMP end in better masks than those that start from a random one."""
    if not evidence.random_init:
        return undecidable("the sweep has no method with both starts")
    effects: dict[str, Effect | None] = {}
    for ours, theirs in evidence.random_init.items():
        rows = evidence.runs.filter(pl.col("task") == (evidence.leading or evidence.task))
        first, second = (rows.filter(pl.col("method") == name) for name in (ours, theirs))
        for s in sorted(set(first["sparsity"]) & set(second["sparsity"])):
            pair = [part.filter(pl.col("sparsity") == s) for part in (first, second)]
            both = set(pair[0]["checkpoint"]) & set(pair[1]["checkpoint"])
            effects[f"{ours}, {percent(s)}"] = effect(
                paired(_over_checkpoints(pair[0], both), _over_checkpoints(pair[1], both))
            )
    return everywhere(effects)


def _rise(methods: Sequence[str], evidence: Evidence) -> Finding:
    effects: dict[str, Effect | None] = {}
    for method in methods:
        rows = evidence.runs.filter(pl.col("method") == method)
        for s in rows["sparsity"].unique().sort().to_list():
            if slopes := per_doubling(evidence.curves(method, s)):
                effects[f"{method}, {percent(s)}"] = effect(design(slopes))
    if not effects:
        return undecidable("no method of this start with scores at two checkpoints")
    return everywhere(effects)


def _over_checkpoints(rows: pl.DataFrame, checkpoints: set[int | None]) -> Cells:
    """The mean score over these checkpoints, for each run that has them all."""
    kept = rows.filter(
        pl.any_horizontal(pl.col("checkpoint").eq_missing(step) for step in checkpoints)
        if checkpoints
        else pl.lit(False)
    )
    whole = kept.group_by("mask_seed", "seed", maintain_order=True).agg(
        score=pl.when(pl.col("score").count() == len(checkpoints)).then(pl.col("score").mean())
    )
    return cells(whole)
