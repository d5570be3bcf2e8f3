"""McNemar's exact test: which of two fine-tuned networks is right where the other one errs?"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from tamt_ray.plan.expand import DENSE

Right = NDArray[np.bool_]
"""[examples], whether an answer is right."""

_SCHEMA = {
    "model": pl.String, "sparsity": pl.Float64, "task": pl.String, "mask_seed": pl.Int64,
    "seed": pl.Int64, "a": pl.String, "b": pl.String, "both": pl.Int64, "only_a": pl.Int64,
    "only_b": pl.Int64, "neither": pl.Int64, "p": pl.Float64, "reason": pl.String,
}  # fmt: skip


def mcnemar(a: Right, b: Right) -> float:
    """Return the two-sided p value that neither errs more often; exact binomial, 1 without a
    disagreement."""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def mcnemar_table(
    downstream: pl.DataFrame, a: str, b: str, right: Callable[[str], Right | str]
) -> pl.DataFrame:
    """Return a row per fine-tune of method `a` and that of `b` with the same seeds.

    A method with one mask (OMP, the dense model) is compared under every mask seed of the other,
    the dense model at every sparsity. `both`, `only_a`, `only_b` and `neither` count the validation
    examples that they answer rightly; `p` is McNemar's. It speaks of these two networks and these
    examples and not of how seeds vary. `right` maps a unit to its answers, or to the reason why
    there are none; then counts and `p` are null and `reason` says so.
    """
    rows: list[tuple[object, ...]] = []
    for first, second in _pairs(downstream, a, b):
        named = second if first["method"] == DENSE else first
        mask_seed = first["mask_seed"] if second["mask_seed"] is None else second["mask_seed"]
        place = (named["model"], named["sparsity"], named["task"], mask_seed, named["seed"], a, b)
        rows.append((*place, *_counts(right(first["unit"]), right(second["unit"]))))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def counted_answers(table: pl.DataFrame, steps: tuple[int, int]) -> Right | str:
    """Return which kept predictions are right (`tasks.predictions`), or why none can be.

    `steps`: the evaluations that count for the first and for the second half.
    """
    if table.schema.get("gold") == pl.Float32:
        return "predicted numbers are neither right nor wrong"
    step = pl.when(pl.col("half") == 1).then(steps[0]).otherwise(steps[1])
    counted = table.filter(pl.col("step") == step).sort("example")
    if "gold" in counted.columns:
        return (counted["gold"] == counted["predicted"]).to_numpy()
    return (counted["exact_match"] == 1).to_numpy()


def _pairs(
    downstream: pl.DataFrame, a: str, b: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    others = downstream.filter(method=b).to_dicts()
    for one in downstream.filter(method=a).iter_rows(named=True):
        for other in others:
            same = all(one[name] == other[name] for name in ("model", "task", "seed"))
            masks = {one["mask_seed"], other["mask_seed"]} - {None}
            sparsities = {each["sparsity"] for each in (one, other) if each["method"] != DENSE}
            if same and len(masks) < 2 and len(sparsities) < 2:
                yield one, other


def _counts(a: Right | str, b: Right | str) -> tuple[object, ...]:
    if isinstance(a, str) or isinstance(b, str):
        return *[None] * 5, a if isinstance(a, str) else b
    if len(a) != len(b):
        return *[None] * 5, "not the same examples"
    counts = [int(each.sum()) for each in (a & b, a & ~b, b & ~a, ~a & ~b)]
    return *counts, mcnemar(a, b), ""
