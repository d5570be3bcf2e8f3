"""Curves: named values over optimiser steps."""

import io
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


class NonFiniteLossError(ArithmeticError):
    """A loss became NaN or infinite; deterministic, so never retried."""

    def __init__(self, step: int, value: float) -> None:
        super().__init__(f"the loss is {value} at step {step}")
        self.step = step
        self.value = value

    def __reduce__(self) -> tuple[type["NonFiniteLossError"], tuple[int, float]]:
        return type(self), (self.step, self.value)


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a curve; `time` in seconds since the epoch."""

    step: int
    name: str
    value: float
    time: float


Listener = Callable[[Sequence[Point]], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def followed(listener: Listener) -> Generator[None]:
    """Pass every point that this thread logs within the block to `listener` too."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class History:
    """Points in the order they were logged, and the training `seconds` behind them."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.seconds = 0.0

    def log(self, step: int, **values: float) -> None:
        """Add one point for each named value."""
        now = time.time()
        points = [Point(step, name, value, now) for name, value in values.items()]
        self.points.extend(points)
        if listener := _listener.get():
            listener(points)

    def to_parquet(self) -> bytes:
        """Columns step, name, value, time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema(
            [
                ("step", pa.int64()),
                ("name", pa.string()),
                ("value", pa.float64()),
                ("time", pa.float64()),
            ]
        )
        rows = [
            {"step": p.step, "name": p.name, "value": p.value, "time": p.time} for p in self.points
        ]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
        return sink.getvalue()

    @staticmethod
    def from_parquet(data: bytes) -> list[Point]:
        """Return the points written by `to_parquet`."""
        import pyarrow.parquet as pq

        rows = pq.read_table(io.BytesIO(data)).to_pylist()
        return [Point(row["step"], row["name"], row["value"], row["time"]) for row in rows]


def check_finite(loss: float, step: int) -> float:
    """`loss` itself. Raises NonFiniteLossError."""
    if not math.isfinite(loss):
        raise NonFiniteLossError(step, loss)
    return loss
