"""Tables for the terminal."""

from collections.abc import Mapping, Sequence

import polars as pl
from rich.table import Table

from tamt_ray.plan.config import Kind
from tamt_ray.plan.status import KindStatus
from tamt_ray.store.record import Failure


def plan_table(statuses: Mapping[Kind, KindStatus]) -> Table:
    """One row a kind of unit: what is there and what is left."""
    table = Table("units", box=None, pad_edge=False)
    for column in ("total", "done", "to run", "of these waiting", "failed", "blocked", "hours"):
        table.add_column(column, justify="right")
    for kind, status in statuses.items():
        numbers = (
            status.total, status.done, status.to_run, status.waiting, status.failed, status.blocked,
        )  # fmt: skip
        table.add_row(kind, *(f"{n:,}" for n in numbers), f"{status.gpu_hours:,.1f}")
    return table


def frame_table(frame: pl.DataFrame) -> Table:
    """A data frame whose columns are ready to print; repeated leading words are left out."""
    table = Table(box=None, pad_edge=False)
    for name, kind in frame.schema.items():
        words = name in {"model", "method"}
        table.add_column(name, justify="left" if words else "right", no_wrap=words)
        assert kind is not None
    before: Sequence[object] = ()
    for row in frame.rows():
        shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in row]
        if before and row[0] == before[0]:
            shown[0] = ""
        table.add_row(*shown)
        before = row
    return table


def failure_lines(failures: Mapping[str, Failure]) -> list[str]:
    """One line a failed unit."""
    return [
        f"{failure.kind} {failure.cell} [{failure.id[:8]}]: {failure.error}: {failure.message}"
        for failure in failures.values()
    ]
