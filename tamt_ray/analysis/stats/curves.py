"""What the searches logged while they trained, as one table."""

from collections.abc import Mapping

import polars as pl

from tamt_ray.plan.expand import Plan

_KEYS = ("model", "method", "sparsity", "mask_seed")
_SCHEMA = {
    "model": pl.String, "method": pl.String, "sparsity": pl.Float64, "mask_seed": pl.Int64,
    "step": pl.Int64, "name": pl.String, "value": pl.Float64,
}  # fmt: skip


def search_curves(plan: Plan, histories: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """A row for each point: (model, method, sparsity, mask_seed, step, name, value).

    `histories`: by unit, the columns step, name, value of its `history.parquet`. The main results
    only: a checkpoint's curve is the beginning of theirs. Of an IMP mask it is the last level.
    """
    parts: list[pl.DataFrame] = []
    for cell, unit in plan.cells["search"].items():
        if unit in histories and cell.checkpoint is None:
            keys = [pl.lit(getattr(cell, key), _SCHEMA[key]).alias(key) for key in _KEYS]
            parts.append(histories[unit].select(*keys, "step", "name", "value"))
    return pl.concat(parts) if parts else pl.DataFrame(schema=_SCHEMA)
