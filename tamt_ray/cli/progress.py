"""The live view of a run: a table on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.messages import (
    Asked,
    Event,
    Failed,
    Landed,
    Lost,
    Progressed,
    Rebuilt,
    Resized,
    Started,
    Stopping,
)
from tamt_ray.plan.config import KINDS
from tamt_ray.plan.cost import Prices
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Unit
from tamt_ray.tracking.tracker import Tracker

_SHOWN = 12
"""Running units shown at most; a cluster runs hundreds."""


class Progress:
    """Follows the events of a run. Time left comes from the cost estimate, scaled by what the
    units of this run really took."""

    def __init__(
        self,
        plan: Plan,
        done: set[str],
        failed: set[str],
        prices: Prices,
        tracker: Tracker,
        console: Console,
    ) -> None:
        self._plan = plan
        self._prices = prices
        self._done = Counter(plan.units[unit_id].kind for unit_id in done)
        self._failed = Counter(plan.units[unit_id].kind for unit_id in failed)
        self._total = Counter(unit.kind for unit in plan.units.values())
        known = done | failed
        self._left = sum(prices.seconds(u) for u in plan.units.values() if u.id not in known)
        self._spent = 0.0
        self._finished = 0
        self._running: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self._begin = time.monotonic()
        self._first: float | None = None
        self._tracker = tracker
        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def watch(self, event: Event | None) -> None:
        """Take an event in; None only refreshes."""
        match event:
            case Started(unit_id, place=place):
                self._first = self._first or time.monotonic()
                self._running[unit_id] = ""
                self._places[unit_id] = place
            case Progressed(unit_id, step, steps) if unit_id in self._running:
                self._running[unit_id] = f"{step}/{steps}"
            case Landed(record):
                self._close(record.id)
                self._done[record.kind] += 1
                self._line(f"done   {_words(self._plan.units[record.id])} ({record.seconds:.1f} s)")
            case Failed(failure):
                self._close(failure.id)
                self._failed[failure.kind] += 1
                unit = self._plan.units[failure.id]
                self._say(Text(f"failed {_words(unit)}: {failure.error}: {failure.message}", "red"))
            case Lost(unit_id, attempt, fault, after):
                self._running.pop(unit_id, None)
                what = f"{_words(self._plan.units[unit_id])}: {fault.value}, attempt {attempt}"
                if fault is Fault.STOP:
                    self._warn(f"left   {what}; its state is saved")
                else:
                    self._warn(f"lost   {what}; again in {after:g} s")
            case Rebuilt(name):
                self._warn(f"the {name} actor was lost and stands again; nothing is lost with it")
            case Resized(nodes):
                self._warn(f"the cluster is now: {nodes}")
            case Asked(nodes):
                self._warn(f"no node for units is up; waiting for the autoscaler to add {nodes}")
            case Stopping(running, grace):
                self._warn(
                    f"stopping: {running} units at work have {grace:g} s to save their states or "
                    "to finish; a second signal ends it at once"
                )
            case _:
                pass
        if self._console.is_terminal:
            self._live.update(self._view())

    def _close(self, unit_id: str) -> None:
        self._running.pop(unit_id, None)
        cost = self._prices.seconds(self._plan.units[unit_id])
        self._spent += cost
        self._left -= cost
        self._finished += 1

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self._say(
                Text(
                    f"{text}  [{sum(self._done.values())}/{sum(self._total.values())}{self._eta()}]"
                )
            )

    def _warn(self, text: str) -> None:
        self._say(Text(text, "yellow"))

    def _say(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)

    def _eta(self) -> str:
        if self._first is None or self._finished < 3:
            return ""
        seconds = (time.monotonic() - self._first) * self._left / self._spent
        return f", about {timedelta(seconds=round(seconds))} left"

    def _view(self) -> Group:
        elapsed = time.monotonic() - self._begin
        table = Table(box=None, pad_edge=False)
        table.add_column("units")
        for column in ("done", "running", "failed", "total"):
            table.add_column(column, justify="right")
        running = Counter(self._plan.units[unit_id].kind for unit_id in self._running)
        for kind in KINDS:
            if self._total[kind]:
                table.add_row(
                    kind, str(self._done[kind]), str(running[kind]), str(self._failed[kind]),
                    str(self._total[kind]),
                )  # fmt: skip
        lines = [
            f"  {_words(self._plan.units[unit_id])}  {step}  on {self._places[unit_id]}"
            for unit_id, step in list(self._running.items())[:_SHOWN]
        ]
        if len(self._running) > _SHOWN:
            lines.append(f"  … and {len(self._running) - _SHOWN} more")
        if not self._running:
            lines.append("  starting workers …")
        rate = 60 * self._finished / elapsed
        head = (
            f"{timedelta(seconds=round(elapsed))} elapsed, {rate:.1f} units a minute{self._eta()}"
        )
        problem = self._tracker.problem
        trouble = [Text(f"MLflow: {problem} (results are safe)", "yellow")] if problem else []
        return Group(table, Text("\n".join(lines)), Text(head), *trouble)


def _words(unit: Unit) -> str:
    return f"{unit.kind} {unit.cell}"
