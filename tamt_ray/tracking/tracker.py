"""MLflow beside the sweep: told of everything, waited for by nothing."""

import logging
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store, StoreError
from tamt_ray.tracking.answered import answered
from tamt_ray.tracking.place import ui_command
from tamt_ray.tracking.spool import Entry, Event, Spool, Summary, UnitFailed, UnitLanded
from tamt_ray.tracking.trouble import RefusedError, TrackingError, one_line

if TYPE_CHECKING:
    from tamt_ray.tracking.writer import Writer

_FIRST_PAUSE = 1.0
"""Seconds to the second attempt; doubled up to the longest."""
_LONGEST_PAUSE = 60.0
_LONGEST_PAUSE_AT_THE_END = 1.0

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A request that MLflow itself repeats could make a run twice; the tracker looks first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def prepare_mlflow() -> None:
    """Set MLflow up before its first import; what the user has set in the environment stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # All that this one logs it raises as well, and the tracker shows it in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def load_writer(sweep: Sweep, plan: Plan, store: Store) -> "Writer":
    """The writer; the first call imports MLflow, which takes seconds. Raises ImportError."""
    prepare_mlflow()
    from tamt_ray.tracking.writer import Writer

    return Writer(sweep, plan, store)


class Tracker:
    """Hands what happens to MLflow through a spool and one thread.

    Whatever MLflow does, the methods return at once, and nothing is lost: what it has not got is
    on disk and goes out in this process or in the next one that opens the same spool.
    """

    def __init__(self, sweep: Sweep, plan: Plan, store: Store, spool: Path) -> None:
        """Takes up what an earlier process left in `spool`, a local directory; contacts nothing.

        Raises OSError where the directory cannot be used.
        """
        self._load = lambda: load_writer(sweep, plan, store)
        self._plan = plan
        self._store = store
        self._spool = Spool(spool)
        self._changed = threading.Condition()
        self._queue = deque[Entry]()
        for entry in self._spool.pending:
            if isinstance(entry.event, Summary) or entry.event.unit in plan.units:
                self._queue.append(entry)
            else:
                # The sweep was edited and no longer has this unit.
                self._spool.acknowledge(entry)
        self._refused: list[str] = []
        self._problem: str | None = None
        self._closing = self._abandoned = False
        self._thread = threading.Thread(target=self._deliver, name="tamt-mlflow", daemon=True)

    def extend(self, plan: Plan) -> None:
        """Take `plan`, which has all units known so far, from now on."""
        self._plan = plan

    def start(self) -> None:
        """Starts the writer thread."""
        self._thread.start()

    def landed(self, *records: Record) -> None:
        """Units are done; those that MLflow has already cost nothing."""
        self._add(*(UnitLanded(record.id, record.kind) for record in records))

    def failed(self, failure: Failure) -> None:
        """A unit did not finish."""
        self._add(UnitFailed.of(failure))

    def summary(self, files: Mapping[str, bytes], metrics: Mapping[str, float]) -> None:
        """Tables and figures for the summary run, by the path they get there. Later ones replace
        earlier ones."""
        try:
            event = self._spool.summary(files, metrics, time.time())
        except OSError as error:
            self._problem = one_line(f"the summary cannot be kept for MLflow: {error}")
        else:
            self._add(event)

    def close(self, timeout: float) -> int:
        """Waits at most `timeout` seconds for MLflow; returns how many events it has not got."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
            return len(self._queue) + len(self._refused)

    @property
    def problem(self) -> str | None:
        """The last trouble in one line; None once MLflow takes events again."""
        if self._problem:
            return self._problem
        if self._thread.ident is not None and not self._thread.is_alive() and self._queue:
            return (
                "the MLflow writer stopped unexpectedly; see its traceback, then tamt sync-mlflow"
            )
        return f"{len(self._refused)} not taken: {self._refused[-1]}" if self._refused else None

    def _add(self, *events: Event) -> None:
        with self._changed:
            try:
                entries = self._spool.append(*events)
            except OSError as error:
                # Still goes to MLflow in this process; `tamt sync-mlflow` mends the rest.
                self._problem = one_line(f"the MLflow spool cannot be written: {error}")
                entries = [self._spool.number(event) for event in events]
            self._queue.extend(entries)
            self._changed.notify_all()

    def _deliver(self) -> None:
        """The writer thread: one event after the other, each until MLflow has it."""
        try:
            writer = self._load()
        except ImportError as error:
            self._problem = one_line(f"mlflow cannot be imported: {error}")
            return
        while entry := self._next():
            if not self._insist(partial(self._hand, writer, entry)):
                return
            with self._changed:
                self._queue.popleft()
        self._insist(writer.settle)

    def _next(self) -> Entry | None:
        """The oldest event, waited for; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            return self._queue[0] if self._queue else None

    def _insist(self, act: Callable[[], None]) -> bool:
        """Repeats `act` with growing pauses until it works; False once nobody waits any more."""
        pause = _FIRST_PAUSE
        while not self._abandoned:
            try:
                act()
            except (TrackingError, OSError) as error:
                self._problem = one_line(error)
                self._rest(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._problem = None
                return True
        return False

    def _rest(self, pause: float) -> None:
        """Waits for `pause` seconds, or until the end begins; then for shorter ones."""
        with self._changed:
            closing = self._closing
            seconds = min(pause, _LONGEST_PAUSE_AT_THE_END) if closing else pause
            self._changed.wait_for(lambda: self._abandoned or self._closing != closing, seconds)

    def _hand(self, writer: "Writer", entry: Entry) -> None:
        event = entry.event
        writer.extend(self._plan)
        try:
            # A driver that was paused and replaced must not write beside the other one.
            self._store.ensure_held()
            match event:
                case UnitLanded():
                    record = self._store.record(event.kind, event.unit)
                    if record is None:
                        raise RefusedError(f"unit {event.unit[:8]} has no record any more")
                    writer.landed(record)
                case UnitFailed():
                    writer.failed(event)
                case Summary():
                    writer.summarise(event, self._spool.files(event))
        except (RefusedError, StoreError) as error:
            # Stays in the spool, so that the next start tries once more.
            self._refused.append(one_line(error))
        else:
            self._spool.acknowledge(entry)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a replay found to do, in units."""

    written: int
    present: int
    refused: Mapping[str, str]
    """Why MLflow or the store would not have it, by unit id."""

    def __str__(self) -> str:
        lines = [f"{self.written} units written to MLflow, {self.present} were there"]
        return "\n".join(lines + [f"  {unit[:12]}: {why}" for unit, why in self.refused.items()])


def sync(
    sweep: Sweep,
    plan: Plan,
    store: Store,
    records: Mapping[str, Record],
    report: Mapping[str, bytes] | None = None,
) -> SyncReport:
    """Brings MLflow to what the store holds of the plan: `records` by unit id, and failures; and
    the summary run to the files of `report`.

    Raises TrackingError if MLflow cannot be reached, ImportError if it cannot be imported.
    """
    writer = load_writer(sweep, plan, store)
    failures = store.failures(plan.units)
    written = present = 0
    refused: dict[str, str] = {}
    for unit_id in plan.units:
        try:
            if unit_id in records:
                new = answered(partial(writer.landed, records[unit_id]))
            elif unit_id in failures:
                new = answered(partial(writer.failed, UnitFailed.of(failures[unit_id])))
            else:
                continue
        except RefusedError as error:
            refused[unit_id] = str(error)
            continue
        written, present = written + new, present + (not new)
    if report:
        with tempfile.TemporaryDirectory(prefix="tamt-summary-") as scratch:
            spool = Spool(Path(scratch))
            numbers = {"done": len(records), "failed": len(failures)}
            event = spool.summary(report, numbers, time.time())
            answered(partial(writer.summarise, event, spool.files(event)))
    answered(writer.settle)
    return SyncReport(written, present, refused)


__all__ = ["SyncReport", "Tracker", "TrackingError", "sync", "ui_command"]
