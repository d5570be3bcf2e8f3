"""The paper's statements about the masks themselves and what they cost (Fig. 6 and 8)."""

from dataclasses import replace
from typing import Literal

import polars as pl

from tamt_ray.analysis.claims.evidence import Evidence
from tamt_ray.analysis.claims.verdict import Finding, everywhere, times, undecidable, within
from tamt_ray.analysis.stats.effect import Cells, Effect, design, effect, paired
from tamt_ray.analysis.stats.trajectories import per_doubling
from tamt_ray.analysis.words import percent

Cost = Literal["iterations", "seconds"]
_COST_AT = 0.7
_SLOW_AT = 0.8
"""The sparsity at which the paper finds TAMT-KD slower than IMP."""
_SELDOM = 0.025
"""Share of resamples that reach IMP's best below which it counts as never reached."""
_FACTOR = 2.0
"""A measured ratio agrees with the paper's within this factor."""
_OTHER_PAIRS = (
    ("imp", "omp"), ("omp", "tamt_mlm"), ("omp", "tamt_kd"), ("imp", "tamt_kd"),
    ("tamt_kd", "tamt_mlm"),
)  # fmt: skip
"""The pairs of Fig. 8 besides (IMP, TAMT-MLM); seeds of IMP first, of TAMT-MLM second."""


def kd_stays_near_omp(evidence: Evidence) -> Finding:
    """TAMT-KD's masks are nearer to OMP's than TAMT-MLM's are, at every sparsity."""
    effects: dict[str, Effect | None] = {}
    for s in _sparsities(evidence):
        kd, mlm = (_distances(evidence, role, "omp", s) for role in ("tamt_kd", "tamt_mlm"))
        if kd and mlm:
            # Paired by TAMT's seed; OMP has none.
            effects[percent(s)] = effect(paired(mlm, kd))
    if not effects:
        return undecidable("no masks of OMP, TAMT-MLM and TAMT-KD at one sparsity")
    return everywhere(effects, digits=3)


def mlm_masks_move_away(evidence: Evidence) -> Finding:
    """The longer the search, the further TAMT-MLM's masks are from OMP's; TAMT-KD's move less."""
    effects: dict[str, Effect | None] = {}
    for s in _sparsities(evidence):
        mlm, kd = (per_doubling(_from_omp(evidence, role, s)) for role in ("tamt_mlm", "tamt_kd"))
        if mlm:
            effects[f"TAMT-MLM, {percent(s)}"] = effect(design(mlm))
        if mlm and kd:
            effects[f"TAMT-MLM − TAMT-KD, {percent(s)}"] = effect(paired(mlm, kd))
    if not effects:
        return undecidable("no masks of TAMT-MLM at two checkpoints beside OMP's")
    return everywhere(effects, digits=3)


def imp_and_tamt_mlm_differ_most(evidence: Evidence) -> Finding:
    """No other two of OMP, IMP, TAMT-MLM and TAMT-KD have masks as far apart as IMP and TAMT-MLM.

    Pairs are compared under the same seed of IMP and the same seed of TAMT.
    """
    effects: dict[str, Effect | None] = {}
    for s in _sparsities(evidence):
        furthest = _distances(evidence, "imp", "tamt_mlm", s)
        for a, b in _OTHER_PAIRS if furthest else ():
            if other := _distances(evidence, a, b, s):
                effects[f"({a}, {b}), {percent(s)}"] = effect(paired(furthest, other))
    if not effects:
        return undecidable("no masks of IMP, TAMT-MLM and a third method at one sparsity")
    return everywhere(effects, digits=3)


def similarity(evidence: Evidence, sparsity: float, low: float, high: float) -> Finding:
    """Jaccard(TAMT-MLM, IMP) lies between two values: its mean over all pairs of their masks."""
    found = _distances(evidence, "tamt_mlm", "imp", sparsity)
    if not found:
        return undecidable(f"no masks of TAMT-MLM and IMP at {percent(sparsity)}")
    similar: Cells = {key: 1 - distance for key, distance in found.items()}
    return within(effect(design(similar)), low, high)


def quicker(evidence: Evidence, cost: Cost, sparsity: float = _COST_AT) -> Finding:
    """TAMT reaches IMP's best score at this sparsity in fewer iterations, or in less time."""
    rows, why = _costs(evidence, cost, sparsity)
    value = "; ".join(_words(row, cost) for row in rows.iter_rows(named=True))
    if why:
        return Finding("not decidable", value, why)
    lows, highs = rows[f"{cost}_low"], rows[f"{cost}_high"]
    if (lows > 1).any():
        return Finding("supported", value)
    slower = (highs < 1) | (rows["reached"] < _SELDOM)
    if slower.fill_null(False).all():
        return Finding("contradicted", value)
    return Finding("not decidable", value, "no interval lies above 1, nor do all lie below")


def ratio_is_about(evidence: Evidence, cost: Cost, ratio: float) -> Finding:
    """At 70 % the quickest objective takes about `ratio` times fewer iterations, or less time."""
    rows, why = _costs(evidence, cost, _COST_AT)
    row = next(rows.iter_rows(named=True), None)
    value = _words(row, cost) if row else ""
    if row is None or why:
        return Finding("not decidable", value, why)
    low, high = row[f"{cost}_low"], row[f"{cost}_high"]
    if low is None or high is None:
        if (rows["reached"] < _SELDOM).all():
            return Finding("contradicted", value, "IMP's best score is not reached")
        return Finding("not decidable", value, "there is no interval")
    if low > ratio * _FACTOR or (high < ratio / _FACTOR and not row["at_first"]):
        return Finding("contradicted", value)
    if row["at_first"]:
        return Finding("not decidable", value, "the first checkpoint is past IMP's best already")
    if low >= ratio / _FACTOR and high <= ratio * _FACTOR:
        return Finding("supported", value)
    return Finding("not decidable", value, f"the interval is not within a factor 2 of {ratio}")


def kd_is_slower_at_eighty(evidence: Evidence) -> Finding:
    """At 80 % TAMT-KD needs more iterations than IMP for IMP's best score."""
    costs = evidence.costs.filter(method=evidence.roles.get("tamt_kd", ""))
    rows, why = _costs(replace(evidence, costs=costs), "iterations", _SLOW_AT)
    row = next(rows.iter_rows(named=True), None)
    value = _words(row, "iterations") if row else ""
    if row is None or why:
        return Finding("not decidable", value, why)
    low, high = row["iterations_low"], row["iterations_high"]
    if row["reached"] < _SELDOM:
        return Finding("supported", value, "IMP's best score is not reached")
    if low is None or high is None:
        return Finding("not decidable", value, "there is no interval")
    if high < 1 and not row["at_first"]:
        return Finding("supported", value)
    if low > 1:
        return Finding("contradicted", value)
    return Finding("not decidable", value, "the interval holds 1")


def kd_is_quicker_on_stsb(evidence: Evidence) -> Finding:
    """On STS-B at 80 % TAMT-KD needs fewer iterations than IMP for IMP's best score."""
    kd = evidence.stsb_costs.filter(method=evidence.roles.get("tamt_kd", ""))
    return quicker(replace(evidence, costs=kd), "iterations", _SLOW_AT)


def _sparsities(evidence: Evidence) -> list[float]:
    return evidence.distances["sparsity"].unique().sort().to_list()


def _from_omp(evidence: Evidence, role: str, sparsity: float) -> dict[int, Cells]:
    """Macro distance to OMP's mask by steps of the checkpoint, then by (seed, None)."""
    omp, name = (evidence.roles.get(r, "") for r in ("omp", role))
    rows = evidence.distances.filter(sparsity=sparsity)
    columns = ("method_a", "method_b", "seed_a", "seed_b", "checkpoint_a", "checkpoint_b", "macro")
    found: dict[int, dict[tuple[int | None, int | None], float]] = {}
    for one, other, seed_a, seed_b, steps_a, steps_b, macro in rows.select(columns).iter_rows():
        seed, steps = (seed_b, steps_b) if one == omp else (seed_a, steps_a)
        if {one, other} == {omp, name} and omp != name and steps is not None:
            found.setdefault(steps, {})[seed, None] = macro
    return dict(sorted(found.items()))


def _distances(evidence: Evidence, a: str, b: str, sparsity: float) -> Cells:
    """Macro distance of final masks by (seed of a, seed of b)."""
    names = [evidence.roles.get(role, "") for role in (a, b)]
    final = pl.col("checkpoint_a").is_null() & pl.col("checkpoint_b").is_null()
    rows = evidence.distances.filter(final, sparsity=sparsity)
    columns = ("method_a", "method_b", "seed_a", "seed_b", "macro")
    found: dict[tuple[int | None, int | None], float] = {}
    for one, other, seed, other_seed, macro in rows.select(columns).iter_rows():
        if [one, other] == names:
            found[seed, other_seed] = macro
        elif [other, one] == names:
            found[other_seed, seed] = macro
    return found


def _costs(evidence: Evidence, cost: Cost, sparsity: float) -> tuple[pl.DataFrame, str]:
    """Return the rows of one sparsity, the most saving first, and the reason if undecided."""
    rows = evidence.costs.filter(sparsity=sparsity)
    why = ""
    if rows.is_empty():
        why = f"no scores of IMP and TAMT after several search lengths at {percent(sparsity)}"
    elif rows["reached"].null_count():
        why = "one mask seed or one fine-tuning seed"
    elif cost == "seconds" and rows["device"].str.contains(" / ", literal=True).any():
        why = "IMP and TAMT were searched on different devices"
    elif cost == "seconds" and rows["imp_seconds"].null_count():
        why = "the time of a search is missing"
    if why:
        return rows, why
    return rows.sort(f"{cost}_ratio", descending=True, nulls_last=True, maintain_order=True), ""


def _words(row: dict[str, object], cost: Cost) -> str:
    ratio, low, high = (row[f"{cost}_{name}"] for name in ("ratio", "low", "high"))
    if not isinstance(ratio, float):
        return f"{row['method']}: not reached"
    least = "at least " if row["at_first"] else ""
    interval = ""
    if isinstance(low, float) and isinstance(high, float):
        interval = f" [{times(low)}, {times(high)}]"
    return f"{row['method']}: {least}{times(ratio)}×{interval}"
