"""Scores that need no model: those of the best constant answer."""

from collections.abc import Mapping

import polars as pl

_RECORDED = "baseline/"
"""Before the name of a metric: that of the best constant answer on the validation set."""
_CONSTANT = {"matthews": 0.0, "pearson": 0.0, "spearman": 0.0}
"""Metrics on which every constant answer has the same score, whatever the labels are."""


def baseline(downstream: pl.DataFrame) -> pl.Expr:
    """The score of the best constant answer on the headline metric of each row, as a fraction.

    From the column `baseline/<metric>`, which a fine-tune records; correlations have 0 without
    it. Null where it is not known.
    """
    found = pl.lit(None, pl.Float64)
    for metric, score in _CONSTANT.items():
        found = pl.when(pl.col("metric") == metric).then(score).otherwise(found)
    for name in downstream.columns:
        if name.startswith(_RECORDED):
            here = (pl.col("metric") == name.removeprefix(_RECORDED)) & pl.col(name).is_not_null()
            found = pl.when(here).then(pl.col(name)).otherwise(found)
    return found


def no_better(row: Mapping[str, float | str | None]) -> bool:
    """Whether the `mean` of a row of `averages.means` is at or below its `baseline`."""
    mean, least = row["mean"], row["baseline"]
    return isinstance(mean, float) and isinstance(least, float) and mean <= least + 1e-9
