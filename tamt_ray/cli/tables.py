"""Tables for the terminal."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tamt_ray.plan.cost import Prices, spoken
from tamt_ray.plan.status import KindStatus, MethodCost
from tamt_ray.plan.unit import Kind
from tamt_ray.store.record import Failure

if TYPE_CHECKING:
    from tamt_ray.execution.profile import Profile

_WORDS = ("model", "method")
"""Columns of words in the summary."""


def plain_table(word: str, *numbers: str, title: str | None = None, head: str = "bold") -> Table:
    """Return a table without lines: a column of words, then columns of numbers; `head`: its
    style."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style=head)
    table.add_column(word, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def plan_table(statuses: Mapping[Kind, KindStatus], known: Prices) -> Table:
    """Return one row per kind of unit: done, left, and the time that the rest takes."""
    table = plain_table(
        "units", "total", "done", "to run", "waiting", "failed", "blocked", "time left"
    )
    for kind, status in statuses.items():
        if not status.total:
            continue
        numbers = (
            status.total, status.done, status.to_run, status.waiting, status.failed, status.blocked,
        )  # fmt: skip
        left = spoken(status.gpu_hours * 3600) if status.to_run else "–"
        rough = " (rough)" if status.to_run and known.measured and known.is_rough(kind) else ""
        table.add_row(kind, *(f"{n:,}" for n in numbers), left + rough)
    return table


def method_table(costs: Mapping[str, MethodCost], by_default: Collection[str]) -> Table:
    """Return one row per method: units to run, steps of a search and the time that they take;
    `by_default`: methods whose steps no file gave."""
    table = plain_table("method", "to run", "steps per search", "searches", "time left")
    for method, cost in costs.items():
        ends = sorted({min(cost.steps), max(cost.steps)}) if cost.steps else []
        steps = "–".join(f"{number:,}" for number in ends) or "–"
        steps += " (default)" if ends and method in by_default else ""
        searches = spoken(cost.search_seconds) if cost.search_seconds else "–"
        table.add_row(
            method or "MLM head", f"{cost.to_run:,}", steps, searches, spoken(cost.seconds)
        )
    return table


def profile_table(found: "Profile") -> Table:
    """Return one row per phase of a step."""
    whole = f"{1000 * found.seconds / found.steps:,.1f} ms a step"
    table = plain_table(f"{found.unit.kind} {found.unit.cell}: {whole}", "ms", "%")
    for name, milliseconds, share in found.rows():
        table.add_row(name, f"{milliseconds:,.1f}", f"{share:.1f}")
    return table


def frame_table(frame: pl.DataFrame, best: Sequence[Collection[str]] = ()) -> Table:
    """Return a data frame whose columns are ready to print; repeated leading words are left out.

    `best`: by row, the columns that are printed in bold.
    """
    # Brings in scipy, which a plan can do without.
    from tamt_ray.analysis.stats.summary import printed

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in frame.columns:
        words = name in _WORDS
        table.add_column(name, justify="left" if words else "right", no_wrap=words)
    before: Sequence[object] = ()
    for number, row in enumerate(frame.rows()):
        shown = [printed(value) for value in row]
        if before and row[0] == before[0]:
            shown[0] = ""
        bold = best[number] if best else ()
        table.add_row(
            *(
                Text(cell, "bold" if name in bold else "")
                for name, cell in zip(frame.columns, shown, strict=True)
            )
        )
        before = row
    return table


def score_table(
    frame: pl.DataFrame, best: Sequence[Collection[str]], width: int, rows: int
) -> RenderableType:
    """Return the summary without rows that have no value yet, cut to a terminal; says what is left
    out. Rows with a best value stay."""
    values = [name for name in frame.columns if name not in {*_WORDS, "sparsity", "runs"}]
    filled = [n for n, row in enumerate(frame.to_dicts()) if any(row[v] != "–" for v in values)]
    kept = sorted(sorted(filled, key=lambda n: not best[n])[:rows])
    shown = frame[kept]
    sizes = {name: max(map(len, [name, *map(str, shown[name])])) + 2 for name in frame.columns}
    # Between columns there are two blanks, behind the last one none.
    while sum(sizes.values()) - 2 > width and values:
        del sizes[values.pop()]
    left_out = frame.width - len(sizes)
    words = [
        f"{number} more {what}{'s' * (number > 1)}"
        for number, what in ((left_out, "column"), (len(filled) - len(kept), "row"))
        if number
    ]
    table = frame_table(shown.select(list(sizes)), [best[n] for n in kept])
    return Group(table, Text(f"{' and '.join(words)}: tamt results", "dim")) if words else table


def failure_lines(failures: Mapping[str, Failure], shown: int = 3) -> list[str]:
    """Return one line per kind of unit and error, with the first units that raised it."""
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures.values():
        groups.setdefault((failure.kind, failure.error, failure.message), []).append(failure)
    lines: list[str] = []
    for (kind, error, message), alike in groups.items():
        names = [f"{f.cell} [{f.id[:8]}]" for f in alike[:shown]]
        more = f" and {len(alike) - shown} more" if len(alike) > shown else ""
        count = f"{len(alike)} × " if len(alike) > 1 else ""
        lines.append(f"{count}{kind} {', '.join(names)}{more}: {error}: {message}")
    return lines
