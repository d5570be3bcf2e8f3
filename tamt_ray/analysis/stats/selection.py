"""How much a score gains because its evaluation is chosen on the examples that measure it."""

import polars as pl


def optimism(downstream: pl.DataFrame) -> pl.DataFrame:
    """Return a row per model and task, in points.

    `mean`: how much higher scores are where the best evaluation is chosen on all examples than
    where it is chosen on the other half, mean over `n` fine-tunes of `n_expected`; `least` to
    `most`: the same per method, since only a gain that differs between methods moves a comparison.
    The others were fine-tuned before predictions were kept, or are not done.
    """
    by_method = downstream.group_by("model", "task", "method", maintain_order=True).agg(
        points=pl.col("optimism").mean() * 100
    )
    spread = by_method.group_by("model", "task", maintain_order=True).agg(
        least=pl.col("points").min(), most=pl.col("points").max()
    )
    whole = downstream.group_by("model", "task", maintain_order=True).agg(
        mean=pl.col("optimism").mean() * 100,
        n=pl.col("optimism").count().cast(pl.Int64),
        n_expected=pl.len().cast(pl.Int64),
    )
    return whole.join(spread, on=["model", "task"], maintain_order="left")
