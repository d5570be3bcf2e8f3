"""The answers of a fine-tune to each validation example, as a small Parquet file.

A row per example and evaluation of the first validation set, in this order: `example`, its place
in the set as evaluated; `half` (1 or 2, `scores.first_half`); `step`; for classes and numbers
`gold` and `predicted`; for answers in text one column per score, `exact_match` and `f1`.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tamt_ray.tasks.scores import Evaluation, first_half

if TYPE_CHECKING:
    import polars as pl

PREDICTIONS = "predictions.parquet"
"""Name of the artifact."""


def to_parquet(evaluations: Sequence[Evaluation]) -> bytes:
    """Return the file of a fine-tune whose evaluations all hold their predictions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = [each.answers for each in evaluations if each.answers is not None]
    assert len(kept) == len(evaluations) > 0
    count, first = len(kept[0].gold), first_half(kept[0])
    columns: dict[str, NDArray[np.generic]] = {
        "example": np.repeat(np.arange(count, dtype=np.int32), len(kept)),
        "half": np.repeat(np.where(first, 1, 2).astype(np.int8), len(kept)),
        "step": np.tile(np.array([each.step for each in evaluations], dtype=np.int32), count),
    }
    if isinstance(kept[0].gold, np.ndarray):
        columns["gold"] = np.repeat(_narrow(kept[0].gold), len(kept))
        columns["predicted"] = _by_example([_narrow(np.asarray(each.predicted)) for each in kept])
    for name in kept[0].scored:
        columns[name] = _by_example([each.scored[name].astype(np.float32) for each in kept])
    # A predicted number hardly ever comes twice.
    repeated = [name for name, v in columns.items() if name != "predicted" or v.dtype.kind == "i"]
    sink = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        sink,
        compression="zstd",
        use_dictionary=repeated,  # pyright: ignore[reportArgumentType]
    )
    return sink.getvalue()


def from_parquet(data: bytes) -> "pl.DataFrame":
    """Return the table that `to_parquet` wrote."""
    import polars as pl

    return pl.read_parquet(io.BytesIO(data))


def _by_example(evaluations: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Return all answers to the first example, then to the second, …: they seldom change."""
    return np.stack(evaluations, axis=1).reshape(-1)


def _narrow(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Classes in the fewest bytes; numbers as they are."""
    if not np.issubdtype(values.dtype, np.integer):
        return values
    return values.astype(np.int8 if values.max(initial=0) < 128 else np.int32)
