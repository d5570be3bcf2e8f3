"""Tuning studies in MLflow: a run a study, its trials as children. Heavy: imports MLflow."""

from collections.abc import Mapping, Sequence

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from tamt_ray.plan.tuning import Outcome, Trial
from tamt_ray.spec.sweep import Sweep
from tamt_ray.tracking.outline import RunHead
from tamt_ray.tracking.runs import KnownRun, Runs
from tamt_ray.tracking.trouble import TrackingError
from tamt_ray.values.identity import canonical


class StudyWriter:
    """Brings MLflow to what the studies hold, however often it is told.

    Every run is looked up by its key before it is made; the tag that says a trial is in is written
    last. Methods raise TrackingError; after one nothing is taken for known.
    """

    def __init__(self, sweep: Sweep) -> None:
        """Contacts nothing."""
        self._runs = Runs(sweep)

    def write(self, outcomes: Sequence[Outcome]) -> int:
        """Write the trials that MLflow has not got; returns how many."""
        try:
            return sum(self._study(outcome) for outcome in outcomes if outcome.trials)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            self._runs.disconnect()
            raise TrackingError(error) from error
        except TrackingError:
            self._runs.disconnect()
            raise

    def _study(self, outcome: Outcome) -> int:
        study = outcome.study
        first = min(trial.started for trial in outcome.trials)
        above = self._run(
            _head(study.id, f"study of {study.method.name} ({study.model})", "study", study.path),
            first,
        )
        written = 0
        for trial in outcome.trials:
            key = f"{study.id}/{trial.number}"
            name = f"trial {trial.number} of {study.method.name} ({study.model})"
            head = _head(key, name, "trial", study.path)
            known = self._run(head, trial.started, above)
            if known.tags.get("tamt.complete") == "true":
                continue
            self._trial(known, outcome, trial)
            written += 1
        if written or above.tags.get("tamt.trials") != str(len(outcome.trials)):
            self._summary(above, outcome)
        return written

    def _trial(self, known: KnownRun, outcome: Outcome, trial: Trial) -> None:
        points = [
            (f"tune/{name}", value, rung.at, rung.steps)
            for rung in trial.rungs
            for name, value in {
                **rung.losses, "objective": outcome.study.objective(rung.losses)
            }.items()
        ]  # fmt: skip
        if trial.state == "finished":
            points.append(("objective", outcome.objective(trial), trial.ended, 0))
        self._log(known, points, {key: str(value) for key, value in trial.values.items()}, {
            "tamt.ended": trial.state, **({"tamt.error": trial.error} if trial.error else {}),
        })  # fmt: skip
        went_well = trial.state in {"finished", "stopped"}
        self._end(known, "FINISHED" if went_well else "FAILED", trial.ended)
        self._log(known, [], {}, {"tamt.complete": "true"})

    def _summary(self, known: KnownRun, outcome: Outcome) -> None:
        """The best of the study so far; a longer study has later points."""
        study = outcome.study
        end = max(trial.ended for trial in outcome.trials)
        count = len(outcome.trials)
        points: list[tuple[str, float, float, int]] = []
        tags = {"tamt.trials": str(count)}
        if best := outcome.best():
            points.append(("objective", outcome.objective(best), end, count))
            tags["tamt.best"] = canonical(dict(best.values))
        if outcome.omp:
            points.append(("omp_objective", study.objective(outcome.omp), end, count))
        params = {
            "sparsity": canonical(study.tuning.sparsity),
            "rungs": canonical(list(study.tuning.rungs)),
            "objective": " + ".join(study.losses),
            **{
                f"span.{key}": canonical(span.model_dump(mode="json", exclude_none=True))
                for key, span in study.spans.items()
            },
        }
        self._log(known, points, params, {})
        self._end(known, "FINISHED", end)
        self._log(known, [], {}, tags)

    def _run(self, head: RunHead, started: float, above: KnownRun | None = None) -> KnownRun:
        if known := self._runs.find(head.key):
            return known
        tags = dict(head.tags)
        if above:
            tags["mlflow.parentRunId"] = above.run_id
        return self._runs.create(head, started, tags)

    def _log(
        self,
        known: KnownRun,
        points: Sequence[tuple[str, float, float, int]],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        self._runs.client.log_batch(
            known.run_id,
            [Metric(name, value, round(at * 1000), step) for name, value, at, step in points],
            [Param(key, value) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
        )
        known.tags.update(tags)

    def _end(self, known: KnownRun, status: str, at: float) -> None:
        self._runs.client.set_terminated(known.run_id, status, round(at * 1000))
        known.status = status


def _head(key: str, name: str, kind: str, path: str) -> RunHead:
    tags = {
        "tamt.unit": key,
        "tamt.kind": kind,
        "tamt.study": path,
        "mlflow.source.name": "tamt_ray",
    }
    return RunHead(key, name, tags, None, frozenset())
