"""Writing to MLflow the difference between its runs and the desired ones. Heavy: imports MLflow."""

import json
import math
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_LOGGED_ARTIFACTS
from sqlalchemy.exc import SQLAlchemyError

from tamt_ray.data.history import History, Point
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.record import HISTORY
from tamt_ray.store.store import Store, StoreError
from tamt_ray.tracking.desired import DesiredRun, Input, curve
from tamt_ray.tracking.outline import RunHead, summary_head
from tamt_ray.tracking.runs import STATE, KnownRun, Runs
from tamt_ray.tracking.summary import Summary
from tamt_ray.tracking.trouble import RefusedError, TrackingError
from tamt_ray.values.commit import commit
from tamt_ray.values.identity import identity
from tamt_ray.values.scratch import Scratch
from tamt_ray.values.version import __version__

_REFUSED = "INVALID_PARAMETER_VALUE"
_GONE = "RESOURCE_DOES_NOT_EXIST"
_NOTE = "mlflow.note.content"
_ONE_REQUEST, _PARAMS = 1000, 100
"""Entities, and parameters among them, that fit into one request."""


class Writer:
    """Brings the runs of one experiment to what is desired, however often it is asked.

    Every run carries its key as a tag and is looked up by it before it is made; the tag that says
    what a run shows is written last. After an error nothing remembered about the runs in hand is
    trusted. Methods raise TrackingError (try again later) and RefusedError (not this one).
    """

    def __init__(self, sweep: Sweep, store: Store) -> None:
        """Contacts nothing."""
        self._name = sweep.name
        self._store = store
        self._runs = Runs(sweep)
        self._trouble = False
        software = {"mlflow.source.name": f"tamt_ray {__version__}"}
        if found := commit():
            # MLflow itself knows the commit of the directory that the command was typed in.
            software[MLFLOW_GIT_COMMIT] = found
        self._source = resolve_tags(software)

    @property
    def experiment(self) -> str:
        """Id of the experiment; empty until MLflow was reached."""
        return self._runs.experiment

    def write(self, run: DesiredRun) -> bool:
        """Write what MLflow lacks of a run, whose parent it has; False if it lacks nothing."""
        key = run.head.key
        with self._careful(key, run.head.parent):
            known = self._runs.find(key)
            if known and _kept(known, run):
                return False
            if known and _replaced(known, run):
                # A run keeps its start time and its curves for ever, so those of before go.
                self._runs.delete(key)
                known = None
            metrics = _lacking(known, run.metrics)
            now = known is not None and " ".join(known.state) == run.state
            if known and now and not metrics and not run.points and known.status == run.status:
                return False
            fresh = known is None
            if known is None:
                known = self._create(run.head, run.started, run.mark)
            if run.status != "FAILED":
                self._forget_failure(known)
            if fresh or not now:
                self._log_inputs(known, run.inputs)
            curves = self._curve(known, run, metrics)
            self._log(
                known,
                [*curves, *run.points, *metrics],
                run.head.params if known.state[0] == "new" else {},
                {**run.tags, STATE: run.state},
            )
            if run.status not in {known.status, "RUNNING"}:
                self._end(known, run.status, run.ended)
            return True

    def stop(self, key: str) -> bool:
        """Show that a run whose unit is not at work any more was broken off; False if MLflow
        shows nothing else."""
        with self._careful(key):
            known = self._runs.find(key)
            if known is None or known.status != "RUNNING" or known.state[0] == "done":
                return False
            self._end(known, "KILLED", time.time())
            return True

    def has(self, key: str) -> bool:
        """Return whether MLflow has the run."""
        with self._careful(key):
            return self._runs.find(key) is not None

    def describe(self, tags: Mapping[str, str]) -> None:
        """Write those tags of the experiment that differ."""
        with self._careful():
            client = self._runs.client
            for name, value in tags.items():
                if self._runs.experiment_tags.get(name) != value:
                    client.set_experiment_tag(self.experiment, name, value)
                    self._runs.experiment_tags[name] = value

    def summarise(self, summary: Summary) -> bool:
        """Write tables, figures and words into the run of the sweep; False if these are there."""
        head = summary_head(self._name)
        with self._careful(head.key):
            known = self._runs.find(head.key) or self._create(head, summary.at, "")
            # Files that are made anew while others run are sent once all is done.
            digest = identity(summary.digests) if summary.files else known.tags.get("tamt.files")
            changed = known.tags.get("tamt.files") != digest
            if changed:
                self._upload(known, summary.files)
            metrics = [
                Point(summary.done, name, value, summary.at)
                for name, value in summary.metrics.items()
                if known.metrics.get(name) != value
            ]
            tags = {_NOTE: summary.note, STATE: "done " if summary.over else "new "}
            tags |= {"tamt.files": digest} if digest else {}
            if summary.tables:
                tables = [{"path": name, "type": "table"} for name in summary.tables]
                tags[MLFLOW_LOGGED_ARTIFACTS] = json.dumps(tables)
            tags |= {"tamt.complete": "true"} if summary.over else {}
            tags = {name: text for name, text in tags.items() if known.tags.get(name) != text}
            status = "FINISHED" if summary.over else "RUNNING"
            if not changed and not metrics and not tags and known.status == status:
                return False
            self._log(known, metrics, {}, tags)
            if known.status != status:
                self._end(known, status, summary.at)
            return True

    def settle(self) -> None:
        """After trouble: remove runs that a slow server made after it was given up."""
        if self._trouble:
            with self._careful():
                self._runs.disconnect()
                assert self._runs.client, "connecting searches"
                self._trouble = False

    @contextmanager
    def _careful(self, *keys: str | None) -> Generator[None]:
        """Turn errors of MLflow and of the store into ours, and doubt the runs in hand."""
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

    def _create(self, head: RunHead, started: float, mark: str) -> KnownRun:
        tags = {**self._source, **head.tags, STATE: f"new {mark}"}
        if head.parent:
            above = self._runs.find(head.parent)
            if above is None:
                raise TrackingError(f"the run above {head.name!r} is gone")
            tags["mlflow.parentRunId"] = above.run_id
        return self._runs.create(head, started, tags)

    def _curve(self, known: KnownRun, run: DesiredRun, metrics: list[Point]) -> list[Point]:
        """Return the curve of a finished unit unless MLflow has it."""
        record = run.curve
        if record is None or record.bare or HISTORY not in record.artifacts:
            return []
        word, mark = known.state
        own = run.state.split()[1]
        if word == "done" and mark.split()[0] == own and not {p.name for p in metrics} & {
            point.name for point in run.metrics if "/" not in point.name
        }:  # fmt: skip
            return []
        return list(curve(record.kind, History.from_parquet(self._store.artifact(record, HISTORY))))

    def _log_inputs(self, known: KnownRun, inputs: Iterable[Input]) -> None:
        found = [
            DatasetInput(
                Dataset(each.name, each.digest, each.scheme, each.source),
                [InputTag("mlflow.data.context", each.context)],
            )
            for each in inputs
        ]
        if found:
            self._runs.client.log_inputs(known.run_id, datasets=found)

    def _log(
        self,
        known: KnownRun,
        points: Sequence[Point],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """The client cuts what is too long for one request, and sends tags with the first part, so
        they go last in one of their own. A point that is there already stays one point: its key,
        step, time and value are MLflow's primary key."""
        metrics = [Metric(p.name, p.value, round(p.time * 1000), p.step) for p in points]
        listed = [Param(key, value) for key, value in params.items()]
        client, last = self._runs.client, [RunTag(key, value) for key, value in tags.items()]
        if len(metrics) + len(listed) + len(last) > _ONE_REQUEST or len(listed) > _PARAMS:
            client.log_batch(known.run_id, metrics, listed)
            metrics, listed = [], []
        client.log_batch(known.run_id, metrics, listed, last)
        known.tags.update(tags)
        known.metrics.update((point.name, point.value) for point in points)

    def _upload(self, known: KnownRun, files: Mapping[str, bytes]) -> None:
        with Scratch("summary") as scratch:
            for name, data in files.items():
                path = scratch / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            try:
                self._runs.client.log_artifacts(known.run_id, str(scratch))
            except Exception as error:
                # Artifact stores are plug-ins; their errors have no common base.
                raise TrackingError(f"artifacts: {type(error).__name__}: {error}") from error

    def _forget_failure(self, known: KnownRun) -> None:
        for stale in {"tamt.error", _NOTE} & known.tags.keys():
            self._runs.client.delete_tag(known.run_id, stale)
            del known.tags[stale]

    def _end(self, known: KnownRun, status: str, at: float) -> None:
        if status == "RUNNING":
            self._runs.client.update_run(known.run_id, status)
        else:
            self._runs.client.set_terminated(known.run_id, status, round(at * 1000))
        known.status = status


def _kept(known: KnownRun, run: DesiredRun) -> bool:
    """Return whether a subnetwork that is computed anew keeps its former run until it is done:
    other runs have it as their parent."""
    below = run.head.own is not None and not run.head.leaf
    return below and known.state[0] == "done" and not run.state.startswith("done")


def _replaced(known: KnownRun, run: DesiredRun) -> bool:
    """Return whether the run in MLflow is of another attempt, result or version of this program."""
    word, mark = known.state
    if not word:
        return True
    if run.head.own is None:
        return False
    if word in {"new", "running"}:
        return mark != run.mark
    return (word == "failed" or run.head.leaf) and " ".join(known.state) != run.state


def _lacking(known: KnownRun | None, points: Iterable[Point]) -> list[Point]:
    """Return the metrics that MLflow has not got, or has otherwise: these as of now, since of two
    points of one step it shows the later one."""
    if known is None:
        return list(points)
    lacking: list[Point] = []
    for point in points:
        latest = known.metrics.get(point.name)
        if latest is None:
            lacking.append(point)
        elif latest != point.value and not (math.isnan(latest) and math.isnan(point.value)):
            lacking.append(Point(point.step, point.name, point.value, time.time()))
    return lacking
