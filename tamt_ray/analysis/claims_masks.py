"""The paper's statements about the masks themselves and what they cost (Fig. 6 and 8)."""

import polars as pl

from tamt_ray.analysis.effect import Cells, Effect, effect, paired
from tamt_ray.analysis.evidence import Evidence
from tamt_ray.analysis.verdict import Finding, everywhere, percent, times, undecidable, within

FEWER_ITERATIONS, LESS_TIME = 8.4, 8.7
"""How many times less TAMT needs for IMP's best score, as the paper has it."""
_COST_AT = 0.7
_FACTOR = 2.0
"""A measured ratio agrees with the paper's within this factor."""


def kd_stays_near_omp(evidence: Evidence) -> Finding:
    """TAMT-KD's masks are nearer to OMP's than TAMT-MLM's are, at every sparsity."""
    effects: dict[str, Effect | None] = {}
    for s in evidence.distances["sparsity"].unique().sort().to_list():
        kd, mlm = (_distances(evidence, role, "omp", s) for role in ("tamt_kd", "tamt_mlm"))
        if kd and mlm:
            # By TAMT's seed; OMP has none.
            effects[percent(s)] = effect(paired(mlm, kd))
    if not effects:
        return undecidable("no masks of OMP, TAMT-MLM and TAMT-KD at one sparsity")
    return everywhere(effects, digits=3)


def jaccard_at_sixty(evidence: Evidence) -> Finding:
    """Jaccard(TAMT-MLM, IMP) is about 0.75 at 60 %: supported within ±0.05."""
    return _similarity(evidence, 0.6, 0.70, 0.80)


def jaccard_at_eighty(evidence: Evidence) -> Finding:
    """Jaccard(TAMT-MLM, IMP) is below 0.6 at 80 %."""
    return _similarity(evidence, 0.8, -1.0, 0.6)


def fewer_iterations(evidence: Evidence) -> Finding:
    """TAMT reaches IMP's best score at 70 % in fewer iterations."""
    return _quicker(evidence, "iterations")


def less_time(evidence: Evidence) -> Finding:
    """TAMT reaches IMP's best score at 70 % in less time."""
    return _quicker(evidence, "seconds")


def iterations_ratio(evidence: Evidence) -> Finding:
    """The quickest objective takes about 8.4 times fewer iterations."""
    return _about(evidence, "iterations", FEWER_ITERATIONS)


def time_ratio(evidence: Evidence) -> Finding:
    """The quickest objective takes about 8.7 times less time."""
    return _about(evidence, "seconds", LESS_TIME)


def _distances(evidence: Evidence, a: str, b: str, sparsity: float) -> Cells:
    """Macro distance by (seed of a, seed of b)."""
    names = [evidence.roles.get(role, "") for role in (a, b)]
    rows = evidence.distances.filter(
        (pl.col("sparsity") == sparsity)
        & pl.col("checkpoint_a").is_null()
        & pl.col("checkpoint_b").is_null()
    )
    columns = ("method_a", "method_b", "seed_a", "seed_b", "macro")
    found: dict[tuple[int | None, int | None], float] = {}
    for one, other, seed, other_seed, macro in rows.select(columns).iter_rows():
        if [one, other] == names:
            found[seed, other_seed] = macro
        elif [other, one] == names:
            found[other_seed, seed] = macro
    return found


def _similarity(evidence: Evidence, sparsity: float, low: float, high: float) -> Finding:
    """The mean Jaccard over all pairs of a TAMT-MLM and an IMP mask; both seeds vary."""
    found = _distances(evidence, "tamt_mlm", "imp", sparsity)
    if not found:
        return undecidable(f"no masks of TAMT-MLM and IMP at {percent(sparsity)}")
    similar: Cells = {key: 1 - distance for key, distance in found.items()}
    return within(effect(paired(similar, {(None, None): 0.0})), low, high)


def _costs(evidence: Evidence, of: str) -> tuple[pl.DataFrame, str]:
    """The rows at 70 %, the most saving first, and why they cannot tell, if so."""
    rows = evidence.costs.filter(pl.col("sparsity") == _COST_AT)
    if rows.is_empty():
        return rows, f"no scores of IMP and TAMT at {percent(_COST_AT)}"
    if of == "seconds" and rows["device"].str.contains(" / ", literal=True).any():
        return rows, "IMP and TAMT were searched on different devices"
    if of == "seconds" and rows["imp_seconds"].null_count():
        return rows, "the time of a search is missing"
    return rows.sort(f"{of}_ratio", descending=True, nulls_last=True, maintain_order=True), ""


def _quicker(evidence: Evidence, of: str) -> Finding:
    rows, why = _costs(evidence, of)
    if why:
        return undecidable(why)
    value = "; ".join(_words(row, of) for row in rows.iter_rows(named=True))
    lows, highs = rows[f"{of}_low"], rows[f"{of}_high"]
    if (lows > 1).any():
        return Finding("supported", value)
    slower = (highs < 1) | (rows["reached"] < 0.025)
    if slower.fill_null(False).all():
        return Finding("contradicted", value)
    return Finding("not decidable", value, "no interval lies above 1, nor do all lie below")


def _about(evidence: Evidence, of: str, ratio: float) -> Finding:
    rows, why = _costs(evidence, of)
    if why:
        return undecidable(why)
    row = rows.to_dicts()[0]
    value, low, high = _words(row, of), row[f"{of}_low"], row[f"{of}_high"]
    if low is None or high is None:
        if (rows["reached"] < 0.025).all():
            return Finding("contradicted", value, "IMP's best score is not reached")
        return Finding("not decidable", value, "there is no interval")
    if low > ratio * _FACTOR or (high < ratio / _FACTOR and not row["at_first"]):
        return Finding("contradicted", value)
    if row["at_first"]:
        return Finding("not decidable", value, "the first checkpoint is past IMP's best already")
    if low >= ratio / _FACTOR and high <= ratio * _FACTOR:
        return Finding("supported", value)
    return Finding("not decidable", value, f"the interval is not within a factor 2 of {ratio}")


def _words(row: dict[str, object], of: str) -> str:
    ratio, low, high = (row[f"{of}_{name}"] for name in ("ratio", "low", "high"))
    if not isinstance(ratio, float):
        return f"{row['method']}: not reached"
    least = "at least " if row["at_first"] else ""
    interval = ""
    if isinstance(low, float) and isinstance(high, float):
        interval = f" [{times(low)}, {times(high)}]"
    return f"{row['method']}: {least}{times(ratio)}×{interval}"
