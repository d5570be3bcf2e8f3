"""An MLflow run as it should be: a pure function of the plan and of what is known so far."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from tamt_ray.data.history import Point
from tamt_ray.data.table import name_of
from tamt_ray.plan.unit import FinetuneConfig, PretrainEvalConfig, Unit
from tamt_ray.store.record import Failure, Record
from tamt_ray.tasks.scores import led_by
from tamt_ray.tracking.outline import RunHead, task_of
from tamt_ray.values.identity import canonical, identity

CHARTED = "average percent"
"""Section of the metrics that exist for charts: in percent, since MLflow prints two decimals."""
OVER_SPARSITY = f"{CHARTED}/over sparsity"
"""A compared subnetwork has one point of it, at the step of its sparsity in percent."""
_LONGEST_DATASET = 500
_LONGEST_ERROR, _LONGEST_TRACEBACK = 1000, 4000
Status = Literal["RUNNING", "FINISHED", "FAILED"]


@dataclass(frozen=True)
class Begun:
    """The last attempt that was reported to this process; `at` in seconds since the epoch."""

    at: float
    over: bool = False
    points: tuple[Point, ...] = ()
    """Points of the curve that MLflow lacks."""

    @property
    def mark(self) -> str:
        """Tells one attempt from another."""
        return f"{self.at:.3f}"


@dataclass(frozen=True)
class Facts:
    """All that is known about the units of a plan, by id."""

    records: dict[str, Record] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    begun: dict[str, Begun] = field(default_factory=dict)

    def running(self, unit_id: str) -> Begun | None:
        """Return the attempt that is at work on a unit."""
        begun = self.begun.get(unit_id)
        return None if begun is None or begun.over else begun


@dataclass(frozen=True)
class Input:
    """A data set that went into a unit; `context` is `train` or `validation`."""

    name: str
    digest: str
    scheme: str
    source: str
    context: str


@dataclass(frozen=True)
class DesiredRun:
    """An MLflow run as it should be."""

    head: RunHead
    state: str
    """`new `, `running <mark>`, `failed <digest>` or `done <digests>`; kept as a tag that is
    written last."""
    status: Status
    started: float
    ended: float
    mark: str = ""
    """The attempt behind the run; empty if none was reported to this process."""
    metrics: tuple[Point, ...] = ()
    """The final value of each metric."""
    curve: Record | None = None
    """The record whose curves belong into the run."""
    points: tuple[Point, ...] = ()
    """Points of a running unit, to be added to those that MLflow has."""
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()


def desired(head: RunHead, facts: Facts) -> DesiredRun | None:
    """Return the run as it should be now; None if nothing of it has begun."""
    own = head.own and facts.records.get(head.own.id)
    if head.own and own is None:
        return _without_record(head, head.own, facts)
    evaluation = head.evaluation.id if head.evaluation else ""
    evaluated = facts.records.get(evaluation)
    unevaluated = None if evaluated else facts.failures.get(evaluation)
    found = [record for record in (own, evaluated) if record]
    tuned = [facts.records[each.id] for each in head.finetunes if each.id in facts.records]
    started = [record.started for record in (own and [own]) or [*found, *tuned]]
    if not own:
        # A dense model has no work of its own: its run begins with the first that needs it.
        ids = (evaluation, *(each.id for each in head.finetunes))
        started += [begun.at for each in ids if (begun := facts.running(each))]
        started += [failure.at for each in ids if (failure := facts.failures.get(each))]
        if not started:
            return None
    end = own or evaluated
    metrics: list[Point] = []
    if own and head.own:
        metrics += _finals(own, led_by(_headline(head.own), own.metrics, head.select))
        used = {"seconds": own.seconds, **own.usage}
        metrics += _finals(own, {f"system/{name}": value for name, value in used.items()})
    if evaluated:
        losses = {f"pretrain/{name}": value for name, value in evaluated.metrics.items()}
        metrics += _finals(evaluated, losses)
    stamps = [_stamp(own, head), _stamp(evaluated)]
    tags = {"tamt.device": own.device, "tamt.place": own.place} if own else {}
    if head.evaluation and isinstance(config := head.evaluation.config, PretrainEvalConfig):
        tags["tamt.evaluation"] = canonical(config.evaluation.model_dump(mode="json"))
    if unevaluated:
        tags |= _failed(unevaluated)
        stamps.append(identity([unevaluated.at])[:12])
    begun = facts.begun.get(head.own.id) if head.own else None
    over = end is not None or unevaluated is not None
    return DesiredRun(
        head,
        f"done {' '.join(stamps)}" if over else "new ",
        "FAILED" if unevaluated else "FINISHED" if over else "RUNNING",
        min(started),
        # A subnetwork that waited for its evaluation did not search meanwhile.
        end.started + end.seconds if end else min(started),
        begun.mark if begun else "",
        (*metrics, *scores(head, tuned)),
        own or None,
        tags=tags,
        inputs=tuple(_inputs(head, found)),
    )


def _without_record(head: RunHead, own: Unit, facts: Facts) -> DesiredRun | None:
    begun = facts.begun.get(own.id)
    mark = begun.mark if begun else ""
    if begun and not begun.over:
        points = tuple(curve(own.kind, begun.points))
        return DesiredRun(
            head, f"running {mark}", "RUNNING", begun.at, begun.at, mark, points=points
        )
    if failure := facts.failures.get(own.id):
        digest = identity([failure.at, failure.error])[:12]
        return DesiredRun(
            head, f"failed {digest}", "FAILED", failure.at, failure.at, mark,
            tags=_failed(failure),
        )  # fmt: skip
    return None


def scores(head: RunHead, tuned: Sequence[Record]) -> Iterator[Point]:
    """Yield the scores of a subnetwork over its fine-tunes so far, as fractions, charted ones in
    percent.

    `score/<task>`: mean over seeds. `score/average`: mean over those seeds that have every task.
    `score/baseline`: the same of the best constant answers, where every task has recorded one.
    The step is the number of seeds, so that the latest point is the fullest one.
    """
    by_id = {record.id: record for record in tuned}
    tasks: dict[str, dict[int, float]] = {}
    whole: dict[str, dict[int, float]] = {}
    constant: dict[str, float] = {}
    for unit in head.finetunes:
        seeds = tasks.setdefault(task_of(unit.cell), {})
        if unit.cell.train_size is None:
            whole[unit.cell.task] = seeds
        record = by_id.get(unit.id)
        led = led_by(_headline(unit), record.metrics, head.select) if record else {}
        if (best := led.get("best")) is not None:
            seeds[unit.cell.seed or 0] = best
        known = record.metrics.get(f"baseline/{_headline(unit)}") if record else None
        if known is not None and unit.cell.train_size is None:
            constant[unit.cell.task] = known
    end = max((record.started + record.seconds for record in tuned), default=0.0)
    for task, seeds in tasks.items():
        if seeds:
            yield Point(len(seeds), f"score/{task}", fmean(seeds.values()), end)
    common = set[int].intersection(*map(set, whole.values())) if whole else set[int]()
    if not common:
        return
    if len(constant) == len(whole):
        yield Point(len(common), "score/baseline", fmean(constant.values()), end)
    average = fmean(fmean(seeds[seed] for seeds in whole.values()) for seed in sorted(common))
    yield Point(len(common), "score/average", average, end)
    if head.role == "compared":
        sparsity = head.cell.sparsity
        yield Point(round(100 * sparsity), OVER_SPARSITY, 100 * average, end)
        if sparsity:
            yield Point(len(common), at_sparsity(sparsity), 100 * average, end)


def at_sparsity(sparsity: float) -> str:
    """Return the metric that compares the methods at one sparsity."""
    return f"{CHARTED}/at sparsity {sparsity:g}"


def curve(kind: str, points: Sequence[Point]) -> Iterator[Point]:
    """Yield the points under the names that MLflow shows: the UI makes a section of everything
    before a slash."""
    return (Point(point.step, f"{kind}/{point.name}", point.value, point.time) for point in points)


def _finals(record: Record, values: Mapping[str, float]) -> list[Point]:
    end = record.started + record.seconds
    return [Point(0, name, value, end) for name, value in values.items()]


def _inputs(head: RunHead, records: Sequence[Record]) -> Iterator[Input]:
    """Yield the data sets behind the records; a model is none, nor a file of masks."""
    for record in records:
        unit = head.own if head.own and head.own.id == record.id else head.evaluation
        tables = [name_of(table) for table in unit.config.tables] if unit else []
        trains = record.kind != "pretrain_eval"
        for place, source in enumerate(tables):
            if digest := record.sources.get(source):
                name, scheme = _short(source)[:_LONGEST_DATASET], source.partition(":")[0]
                context = "train" if trains and place == 0 else "validation"
                yield Input(name, digest[:36], scheme, source, context)


def _failed(failure: Failure) -> dict[str, str]:
    note = f"**{failure.kind}** failed after {failure.attempts} attempt(s)"
    return {
        "tamt.error": f"{failure.error}: {failure.message}"[:_LONGEST_ERROR],
        "mlflow.note.content": f"{note}\n\n{_fenced(failure.traceback[-_LONGEST_TRACEBACK:])}",
    }


def _fenced(text: str) -> str:
    """Return a block of Markdown that shows any text as it is."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _stamp(record: Record | None, head: RunHead | None = None) -> str:
    """Return a digest that changes if a unit is computed anew or led by another metric."""
    if record is None:
        return "-"
    led = [_headline(head.own), head.select] if head and head.own else []
    return identity([record.started, record.metrics, *led])[:12]


def _headline(unit: Unit) -> str:
    """Return the metric that leads a fine-tune's scores; empty for other units."""
    return unit.config.task.metric if isinstance(unit.config, FinetuneConfig) else ""


def _short(source: str) -> str:
    """`hf:a/b#c#train` is a/b#c#train; of a package or a directory the last part of the path."""
    scheme, _, rest = source.partition(":")
    if scheme == "hf":
        return rest
    path, *chosen = rest.split("#")
    last = path.rstrip("/").rpartition("/")[2]
    return "#".join([last, *(part for part in chosen if not part.startswith("sha256="))])
