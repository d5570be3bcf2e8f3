"""What goes into MLflow, and in which order. Heavy: `tracker.load_writer` imports it."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from tamt_ray.data.history import History, Point
from tamt_ray.plan.expand import Plan
from tamt_ray.plan.unit import Unit
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store, StoreError
from tamt_ray.tracking import outline
from tamt_ray.tracking.outline import RunHead
from tamt_ray.tracking.runs import KnownRun, Runs
from tamt_ray.tracking.spool import Summary, UnitFailed
from tamt_ray.tracking.trouble import RefusedError, TrackingError
from tamt_ray.values.identity import identity

_REFUSED = "INVALID_PARAMETER_VALUE"
_GONE = "RESOURCE_DOES_NOT_EXIST"


class Writer:
    """Writes each unit of a plan into one experiment exactly once, however often it is told.

    Every run carries its key as a tag and is looked up by it before it is made; the tag that says
    that a unit is in (`tamt.holds`, and `tamt.complete` with the last one) is written last. After
    an error nothing remembered about the runs in hand is trusted. Methods raise TrackingError
    (try again later) and RefusedError (not this one).
    """

    def __init__(self, sweep: Sweep, plan: Plan, store: Store) -> None:
        """Contacts nothing."""
        self._sweep = sweep
        self._plan = plan
        self._store = store
        self._outline = outline.outline(plan)
        self._runs = Runs(sweep)
        self._trouble = False

    def extend(self, plan: Plan) -> None:
        """Write units of `plan`, which has all units known so far, from now on."""
        if plan is not self._plan:
            self._plan, self._outline = plan, outline.outline(plan)

    def landed(self, record: Record) -> bool:
        """Writes a finished unit; False where MLflow has it already.

        One that was computed anew gets a new run where nothing hangs on the old one (a fine-tune),
        else its values are written over the old ones.
        """
        unit, head = self._plan.units[record.id], self._head(record.id)
        stamp = identity([record.started, record.metrics, outline.headline(unit)])[:12]
        with self._careful(head.key, head.parent):
            known = self._runs.find(head.key)
            before = known and known.stamps.get(record.id)
            finals = {
                point.name for point in outline.unit_points(record, [], outline.headline(unit))
            }
            if known and before == stamp and finals <= known.metrics:
                return False
            failed = known and known.status == "FAILED" and not known.stamps
            old = before and before != stamp and head.parent
            if (failed and head.key == record.id) or old:
                # A run keeps its start time and its curves for ever, so those of before go.
                self._runs.delete(head.key)
            known = self._run(head, record.started)
            self._fill(known, unit, record)
            # A subnetwork that waited for its evaluation did not search meanwhile.
            if known.status != "FINISHED":
                self._end(known, "FINISHED", record.started + record.seconds)
            held = known.stamps | {record.id: stamp}
            last = {"tamt.holds": " ".join(f"{unit}:{held[unit]}" for unit in sorted(held))}
            if held.keys() >= head.units:
                last["tamt.complete"] = "true"
            self._log(known, tags=last)
            return True

    def failed(self, failure: UnitFailed) -> bool:
        """Shows a unit as failed; False where MLflow shows that, or that it has finished since."""
        head = self._head(failure.unit)
        with self._careful(head.key, head.parent):
            known = self._run(head, failure.at)
            told = known.status == "FAILED" and known.tags.get("tamt.error") == failure.error
            if failure.unit in known.stamps or told:
                return False
            note = f"**{failure.kind}** failed after {failure.attempts} attempt(s)"
            note += f"\n\n{_fenced(failure.traceback)}"
            self._log(known, tags={"tamt.error": failure.error, "mlflow.note.content": note})
            self._end(known, "FAILED", failure.at)
            return True

    def summarise(self, summary: Summary, files: Path) -> bool:
        """Writes tables and figures into the run of the sweep; False if these are there."""
        head = outline.summary_run(self._sweep.name)
        with self._careful(head.key):
            known = self._run(head, summary.at)
            if known.tags.get("tamt.summary") == summary.digest:
                return False
            try:
                self._runs.client.log_artifacts(known.run_id, str(files))
            except Exception as error:
                # Artifact stores are plug-ins; their errors have no common base.
                raise TrackingError(f"artifacts: {type(error).__name__}: {error}") from error
            points = [Point(0, name, value, summary.at) for name, value in summary.metrics.items()]
            self._log(known, points)
            self._end(known, "FINISHED", summary.at)
            self._log(known, tags={"tamt.summary": summary.digest, "tamt.complete": "true"})
            return True

    def settle(self) -> None:
        """After trouble: removes runs that a slow server made after it was given up."""
        if self._trouble:
            with self._careful():
                self._runs.disconnect()
                assert self._runs.client, "connecting searches"
                self._trouble = False

    @contextmanager
    def _careful(self, *keys: str | None) -> Generator[None]:
        """Turns errors of MLflow and of the store into ours, and doubts the runs in hand."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError, StoreError, TrackingError) as error:
            self._trouble = True
            for key in filter(None, keys):
                self._runs.doubt(key)
            code = error.error_code if isinstance(error, MlflowException) else ""
            if code == _GONE:
                # Someone deleted a run, or the database.
                self._runs.disconnect()
            if isinstance(error, TrackingError):
                raise
            if code == _REFUSED or isinstance(error, StoreError):
                raise RefusedError(error) from error
            raise TrackingError(error) from error

    def _head(self, unit_id: str) -> RunHead:
        return self._outline.runs[self._outline.key_of[unit_id]]

    def _run(self, head: RunHead, started: float) -> KnownRun:
        """The run, made if need be, the one above it before it."""
        if known := self._runs.find(head.key):
            return known
        tags = dict(head.tags)
        if head.parent:
            tags["mlflow.parentRunId"] = self._above(head.parent, started).run_id
        return self._runs.create(head, started, tags)

    def _above(self, key: str, started: float) -> KnownRun:
        """The parent run; a subnetwork that an earlier sweep found is written first."""
        if not self._runs.find(key) and key in self._plan.units:
            record = self._store.record(self._plan.units[key].kind, key)
            if record:
                self.landed(record)
        return self._run(self._outline.runs[key], started)

    def _fill(self, known: KnownRun, unit: Unit, record: Record) -> None:
        name = outline.curves_of(record)
        curves = History.from_parquet(self._store.artifact(record, name)) if name else []
        self._log(
            known,
            outline.unit_points(record, curves, outline.headline(unit)),
            outline.unit_params(unit),
            outline.unit_tags(unit, record),
        )
        inputs = [
            DatasetInput(
                Dataset(source.name, source.digest, source.scheme, source.source),
                [InputTag("mlflow.data.context", unit.kind)],
            )
            for source in outline.unit_inputs(record)
        ]
        if inputs:
            self._runs.client.log_inputs(known.run_id, datasets=inputs)

    def _log(
        self,
        known: KnownRun,
        points: list[Point] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """The client cuts what is too long for one request. A point that is there already stays
        one point: its key, step, time and value are MLflow's primary key, and all of a record's
        points are the same each time."""
        self._runs.client.log_batch(
            known.run_id,
            [Metric(p.name, p.value, round(p.time * 1000), p.step) for p in points or ()],
            [Param(key, value) for key, value in (params or {}).items()],
            [RunTag(key, value) for key, value in (tags or {}).items()],
        )
        known.tags.update(tags or {})
        known.metrics.update(point.name for point in points or ())

    def _end(self, known: KnownRun, status: str, at: float) -> None:
        client = self._runs.client
        if status == "FINISHED":
            for stale in {"tamt.error", "mlflow.note.content"} & known.tags.keys():
                client.delete_tag(known.run_id, stale)
                del known.tags[stale]
        client.set_terminated(known.run_id, status, round(at * 1000))
        known.status = status


def _fenced(text: str) -> str:
    """A block of Markdown that shows any text as it is."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
