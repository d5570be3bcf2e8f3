"""A running sweep on a terminal: counts, units at work, scores so far."""

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tamt_ray.analysis.stats.summary import Snapshot
from tamt_ray.cli.tables import plain_table, score_table
from tamt_ray.execution.activity import Activity, LiveStatus, UnitAtWork
from tamt_ray.plan.cost import spoken
from tamt_ray.plan.unit import KINDS

_SHOWN = 8
"""Units at work shown at most; a cluster runs hundreds."""
_LEAST = 2
"""Units at work shown in a terminal of 24 lines."""
_ALL = 1000
"""Rows of scores where there is no terminal to fit; `tamt results` has them all."""
_AROUND = 23
"""Lines of a terminal that are not for scores."""


class LiveView:
    """Renders a status to the width of the terminal, and to its height if it is `fitted`."""

    def __init__(self, status: LiveStatus, *further: RenderableType, fitted: bool = True) -> None:
        self._status = status
        self._further = further
        self._fitted = fitted

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield counts, units at work and scores."""
        activity, tables = self._status.activity, self._status.tables
        height = options.size.height
        shown = max(_LEAST, min(_SHOWN, height - 22)) if self._fitted else _SHOWN
        yield counts_table(activity)
        yield Text()
        yield at_work_table(activity, options.max_width, shown)
        if tables and _any_score(tables):
            yield Text()
            rows = max(4, height - _AROUND - len(activity.at_work[:shown]))
            yield scores_so_far(tables, options.max_width, rows if self._fitted else _ALL)
        yield Text()
        yield Text(time_line(activity))
        yield from self._further


def counts_table(activity: Activity) -> Table:
    """Return one row per kind of unit."""
    table = plain_table("units", "done", "running", "failed", "total", head="dim")
    for kind in KINDS:
        if activity.total.get(kind):
            numbers = (activity.done, activity.running, activity.failed, activity.total)
            table.add_row(kind, *(f"{each.get(kind, 0):,}" for each in numbers))
    return table


def at_work_table(activity: Activity, width: int, shown: int) -> RenderableType:
    """Return one line per unit at work: step, rate, time and place; of the first `shown`."""
    if not activity.at_work:
        over = sum(activity.done.values()) + sum(activity.failed.values())
        starts = over < sum(activity.total.values())
        return Text(f"no unit is at work{' yet: workers are starting' if starts else ''}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column, side in (("at work", "left"), ("step", "right"), ("steps/s", "right")):
        table.add_column(column, justify=side, no_wrap=True)  # pyright: ignore[reportArgumentType]
    table.add_column("since", justify="right", no_wrap=True)
    if width >= 100:
        table.add_column("place", no_wrap=True, overflow="ellipsis")
    for unit in activity.at_work[:shown]:
        cells = [unit.path.replace("/", " "), *_speed(unit), spoken(unit.seconds)]
        table.add_row(*cells, *([unit.place] if width >= 100 else []))
    if len(activity.at_work) > shown:
        return Group(table, Text(f"… and {len(activity.at_work) - shown} more"))
    return table


def scores_so_far(tables: Snapshot, width: int, rows: int = _ALL) -> RenderableType:
    """Return the rows that have a score, and the answer so far."""
    return Group(
        score_table(tables.summary, tables.best, width=width, rows=rows), Text(tables.answer.text)
    )


def print_scores(tables: Snapshot, out: Console) -> None:
    """Print the same, cut to the columns of a terminal."""
    out.print(scores_so_far(tables, out.width), soft_wrap=not out.is_terminal)


def time_line(activity: Activity) -> str:
    """Elapsed time, units per minute and the time left."""
    finished = sum(activity.done.values())
    words = [f"{finished:,} of {sum(activity.total.values()):,} units done"]
    words.append(f"{spoken(activity.elapsed)} elapsed")
    if activity.left is not None:
        words.append(f"about {spoken(max(1.0, activity.left))} left")
    return ", ".join(words)


def _speed(unit: UnitAtWork) -> tuple[str, str]:
    if not unit.steps:
        return "", ""
    return f"{unit.step:,}/{unit.steps:,}", f"{unit.rate:,.3g}" if unit.rate else ""


def _any_score(tables: Snapshot) -> bool:
    return any(tables.best) or tables.answer.done > 0
