"""MLflow beside the sweep: it follows what the store holds, and nothing waits for it."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tamt_ray.data.history import Point
from tamt_ray.plan.expand import Plan
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Failure, Record
from tamt_ray.store.store import Store, StoreError
from tamt_ray.tracking.desired import Begun, Facts, desired
from tamt_ray.tracking.outline import outline
from tamt_ray.tracking.place import ui_link
from tamt_ray.tracking.reach import prepare_mlflow
from tamt_ray.tracking.summary import Summary, SyncReport
from tamt_ray.tracking.trouble import RefusedError, TrackingError, one_line
from tamt_ray.tracking.views import view_tags

if TYPE_CHECKING:
    from tamt_ray.tracking.writer import Writer

_FIRST_PAUSE = 1.0
"""Seconds to the second attempt; doubled up to the longest."""
_LONGEST_PAUSE = 60.0
_LONGEST_PAUSE_AT_THE_END = 1.0
_BREATH = 1.0
"""Seconds between two reads of new results, so that one request carries many."""
_SUMMARY_EVERY = 10.0
"""Seconds between two summaries of a running sweep."""
_PATIENCE = 120.0
"""Seconds for one run; each of its requests has a shorter limit between two bytes."""
_LIVE_POINTS = 2000
"""Points of one running unit that wait for MLflow at most; its whole curve comes with its end."""
_SUMMARY = "summary"

Describe = Callable[[Mapping[str, Record], Collection[str]], Summary]
"""Returns words and numbers about the records so far and the ids of what failed."""


def load_writer(sweep: Sweep, store: Store) -> "Writer":
    """Return the writer; the first call imports MLflow, which takes seconds. Raises ImportError."""
    prepare_mlflow()
    from tamt_ray.tracking.writer import Writer

    return Writer(sweep, store)


class Tracker:
    """One thread that brings MLflow to what is known about the units of a plan.

    Whatever MLflow does, the methods return at once, and nothing is lost: what it lacks is in the
    store, and the next process that follows the same sweep finds it by comparing the two.
    """

    def __init__(
        self, sweep: Sweep, plan: Plan, store: Store, describe: Describe | None = None
    ) -> None:
        """Contacts nothing. `describe` is called on the tracker's own thread."""
        self._sweep = sweep
        self._load = lambda: load_writer(sweep, store)
        self._store = store
        self._describe = describe
        self._outline = outline(plan)
        self._views = view_tags(plan)
        self._facts = Facts()
        self._changed = threading.Condition()
        self._stale = {*self._outline.runs, *([_SUMMARY] if describe else [])}
        """Keys of runs that MLflow may lack something of."""
        self._final: Summary | None = None
        self._summarised = 0.0
        self._refused: dict[str, str] = {}
        self._in_hand = set[str]()
        self._written: set[str] = set()
        self._steps = 0
        self._problem: str | None = None
        self._experiment = ""
        self._closing = self._abandoned = self._finished = False
        self._thread = threading.Thread(target=self._run, name="tamt-mlflow", daemon=True)

    def start(
        self, records: Mapping[str, Record] | None = None,
        failures: Mapping[str, Failure] | None = None,
    ) -> None:  # fmt: skip
        """Start the thread, with what the store holds already."""
        self._facts.records.update(records or {})
        self._facts.failures.update(failures or {})
        self._thread.start()

    def began(self, unit_id: str) -> None:
        """Note that a worker began a unit."""
        with self._changed:
            self._facts.begun[unit_id] = Begun(time.time())
            self._touch(unit_id)

    def progressed(self, unit_id: str, points: Sequence[Point]) -> None:
        """Take points of the curve of a running unit."""
        with self._changed:
            begun = self._facts.running(unit_id)
            if begun and points:
                kept = (*begun.points, *points)[-_LIVE_POINTS:]
                self._facts.begun[unit_id] = replace(begun, points=kept)
                self._touch(unit_id)

    def left(self, unit_id: str) -> None:
        """Note that an attempt ended without a result."""
        with self._changed:
            self._end_attempt(unit_id)
            self._touch(unit_id)

    def landed(self, *records: Record) -> None:
        """Take units that are done; those that MLflow has already cost nothing."""
        with self._changed:
            for record in records:
                self._end_attempt(record.id)
                self._facts.failures.pop(record.id, None)
                self._facts.records[record.id] = record
                self._touch(record.id)

    def failed(self, failure: Failure) -> None:
        """Note that a unit did not finish."""
        with self._changed:
            self._end_attempt(failure.id)
            self._facts.failures[failure.id] = failure
            self._touch(failure.id)

    def extend(self, plan: Plan) -> None:
        """Follow `plan`, which has all units known so far, from now on."""
        new = outline(plan)
        with self._changed:
            self._stale |= new.runs.keys() - self._outline.runs.keys()
            self._outline = new
            self._changed.notify_all()

    def report(self, summary: Summary) -> None:
        """Write the final summary, tables and figures."""
        with self._changed:
            self._final = summary
            self._stale.add(_SUMMARY)
            self._changed.notify_all()

    def close(self, timeout: float) -> int:
        """Wait at most `timeout` seconds for MLflow; return how many runs it may lack."""
        with self._changed:
            # Units still at work go on without this process, or not at all.
            for unit_id in filter(self._facts.running, list(self._facts.begun)):
                self._end_attempt(unit_id)
                self._touch(unit_id)
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
            return sum(map(self._shown, self._stale | self._in_hand | self._refused.keys()))

    @property
    def problem(self) -> str | None:
        """The last trouble in one line; None once MLflow answers again."""
        if self._problem:
            return self._problem
        stopped = self._thread.ident is not None and not self._thread.is_alive()
        if stopped and (self._stale or self._in_hand):
            return "MLflow's writer stopped unexpectedly; see its traceback, then tamt sync-mlflow"
        refused = list(self._refused.values())
        return f"{len(refused)} not taken: {refused[-1]}" if refused else None

    @property
    def link(self) -> str | None:
        """The page that compares the methods; None until MLflow was reached."""
        return ui_link(self._sweep, self._experiment) if self._experiment else None

    def finish(self) -> SyncReport:
        """Wait until MLflow lacks nothing. Raises TrackingError at the first trouble, and if a
        run takes too long: MLflow's own time-out begins anew with every byte a server sends."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while not (self._finished or self._problem):
                steps = self._steps
                if not self._changed.wait_for(
                    lambda steps=steps: self._finished or self._problem or self._steps != steps,
                    _PATIENCE,
                ):
                    self._problem = f"no whole answer within {_PATIENCE:g} s"
            if self._problem:
                self._abandoned = True
                self._changed.notify_all()
                raise TrackingError(self._problem)
        others = self._outline.runs.keys() - self._written - self._refused.keys()
        present = sum(map(self._shown, others))
        written = len(self._written - {_SUMMARY})
        return SyncReport(written, present, dict(self._refused), self.link or "")

    def _shown(self, key: str) -> bool:
        """Return whether there is anything to show of a run."""
        return key == _SUMMARY or desired(self._outline.runs[key], self._facts) is not None

    def _touch(self, unit_id: str) -> None:
        """Compare the run of a unit, and the one above it, which shows its score."""
        key = self._outline.key_of.get(unit_id)
        if key is None:
            return
        parent = self._outline.runs[key].parent
        self._stale |= {key, parent} if parent else {key}
        if self._describe:
            self._stale.add(_SUMMARY)
        self._changed.notify_all()

    def _end_attempt(self, unit_id: str) -> None:
        if begun := self._facts.begun.get(unit_id):
            self._facts.begun[unit_id] = Begun(begun.at, over=True)

    def _run(self) -> None:
        try:
            self._deliver()
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _deliver(self) -> None:
        """Compare what is stale, over and over, until the end."""
        try:
            writer = self._load()
        except ImportError as error:
            self._problem = one_line(f"mlflow cannot be imported: {error}")
            return

        def describe() -> None:
            writer.describe(self._views)
            self._experiment = writer.experiment

        if not self._insist(describe):
            return
        while keys := self._next():
            for key in keys:
                if not self._insist(partial(self._bring, writer, key)):
                    return
        self._insist(writer.settle)

    def _next(self) -> list[str]:
        """Wait for stale keys and return them, parents first; none at the end."""
        with self._changed:
            while not (self._due() or self._closing):
                self._changed.wait(_SUMMARY_EVERY if _SUMMARY in self._stale else None)
            if not self._closing:
                self._changed.wait_for(lambda: self._closing, _BREATH)
            due = self._due()
            ordered = [key for key in self._outline.runs if key in due]
            return ordered + [key for key in due if key == _SUMMARY]

    def _due(self) -> set[str]:
        early = not self._closing and time.monotonic() - self._summarised < _SUMMARY_EVERY
        return self._stale - {_SUMMARY} if early else self._stale

    def _insist(self, act: Callable[[], None]) -> bool:
        """Repeat `act` with growing pauses until it works; return False once abandoned."""
        pause = _FIRST_PAUSE
        while not self._abandoned:
            try:
                act()
            except (TrackingError, OSError) as error:
                with self._changed:
                    self._problem = one_line(error)
                    self._changed.notify_all()
                self._rest(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                with self._changed:
                    self._problem = None
                    self._steps += 1
                    self._changed.notify_all()
                return True
        return False

    def _rest(self, pause: float) -> None:
        """Wait for `pause` seconds, or until the end begins; then for shorter ones."""
        with self._changed:
            closing = self._closing
            seconds = min(pause, _LONGEST_PAUSE_AT_THE_END) if closing else pause
            self._changed.wait_for(lambda: self._abandoned or self._closing != closing, seconds)

    def _bring(self, writer: "Writer", key: str) -> None:
        """Bring one run to what is desired now; it stays stale if that fails."""
        with self._changed:
            self._stale.discard(key)
            self._in_hand = {key}
        try:
            # A driver that was paused and replaced must not write beside the other one.
            self._store.ensure_held()
            if self._summarise(writer) if key == _SUMMARY else self._compare(writer, key):
                self._written.add(key)
        except (RefusedError, StoreError) as error:
            # The next start tries once more.
            self._refused[key] = one_line(error)
        except (TrackingError, OSError):
            with self._changed:
                self._stale.add(key)
            raise
        else:
            self._refused.pop(key, None)
        self._in_hand = set()

    def _compare(self, writer: "Writer", key: str) -> bool:
        head = self._outline.runs[key]
        with self._changed:
            run = desired(head, self._facts)
        if run is None:
            return writer.stop(key)
        if head.parent and not writer.has(head.parent):
            self._compare(writer, head.parent)
        written = writer.write(run)
        if run.points and head.own:
            with self._changed:
                # MLflow has the first points of this running unit now.
                if begun := self._facts.running(head.own.id):
                    kept = begun.points[len(run.points) :]
                    self._facts.begun[head.own.id] = replace(begun, points=kept)
        return written

    def _summarise(self, writer: "Writer") -> bool:
        self._summarised = time.monotonic()
        summary = self._final
        if summary is None:
            if self._describe is None:
                return False
            with self._changed:
                records, failures = dict(self._facts.records), set(self._facts.failures)
            summary = self._describe(records, failures)
        written = writer.summarise(summary)
        writer.describe({"mlflow.note.content": summary.note})
        return written
