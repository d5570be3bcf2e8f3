"""Which MLflow runs a plan has, what they are called, and what of a unit goes into them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tamt_ray.data.history import Point
from tamt_ray.plan.cell import Cell
from tamt_ray.plan.config import FinetuneConfig, HeadConfig, PretrainEvalConfig
from tamt_ray.plan.expand import DENSE, Plan
from tamt_ray.plan.unit import Unit
from tamt_ray.store.record import Record
from tamt_ray.tasks.scores import led_by
from tamt_ray.values.identity import canonical, decisive_dump, identity
from tamt_ray.values.model import Model

_LONGEST_PARAM = 6000
_LONGEST_DATASET = 500
_CURVES = "history.parquet"


@dataclass(frozen=True)
class RunHead:
    """One MLflow run before anything is known about its result."""

    key: str
    """Value of the tag `tamt.unit`: the id of the unit, or of the dense model."""
    name: str
    tags: Mapping[str, str]
    parent: str | None
    """Key of the run above it."""
    units: frozenset[str]
    """Units of the plan whose results belong into this run."""


@dataclass(frozen=True)
class Outline:
    """The runs of one plan."""

    runs: Mapping[str, RunHead]
    """By key, parents before children."""
    key_of: Mapping[str, str]
    """Key of the run that holds a unit."""


def outline(plan: Plan) -> Outline:
    """A run for each subnetwork, dense model, MLM head and fine-tune; a pre-training evaluation
    is part of its subnetwork's run."""
    key_of = {unit.id: _key(unit) for unit in plan.units.values()}
    members: dict[str, set[str]] = {}
    for unit_id, key in key_of.items():
        members.setdefault(key, set()).add(unit_id)
    asked = plan.masks
    runs: dict[str, RunHead] = {}
    for unit in plan.units.values():
        config, cell, key = unit.config, unit.cell, key_of[unit.id]
        parent: str | None = None
        if isinstance(config, FinetuneConfig):
            parent = config.mask or _dense_key(config.model)
            if parent not in members:
                members[parent] = set()
            if parent not in runs:
                runs[parent] = _dense_run(parent, cell, members[parent])
            name = f"{cell.task} seed {cell.seed}"
        elif isinstance(config, PretrainEvalConfig):
            if key not in runs:
                runs[key] = _dense_run(key, cell, members[key])
            continue
        elif isinstance(config, HeadConfig):
            name = f"mlm-head ({cell.model})"
        else:
            seed = "" if cell.mask_seed is None else f" mask-seed {cell.mask_seed}"
            about = cell.model + ("" if unit.id in asked else ", level on the way")
            # What differs comes first: the UI shows some twenty characters.
            name = f"{cell.method} {cell.sparsity}{seed} ({about})"
        tags = _tags(key, unit.kind, cell)
        if unit.kind == "search":
            tags["tamt.role"] = "mask" if unit.id in asked else "level"
        runs[key] = RunHead(key, name, tags, parent, frozenset(members[key]))
    return Outline(runs, key_of)


def summary_run(sweep: str) -> RunHead:
    """The run of the whole sweep."""
    tags = _tags("summary", "summary", Cell())
    return RunHead("summary", f"summary of {sweep}", tags, None, frozenset())


def _key(unit: Unit) -> str:
    if isinstance(unit.config, PretrainEvalConfig):
        return unit.config.mask or _dense_key(unit.config.model)
    return unit.id


def _dense_key(model: Model) -> str:
    return identity({"dense": model.model_dump(mode="json", include={"source", "pooling"})})


def _dense_run(key: str, cell: Cell, units: set[str]) -> RunHead:
    tags = _tags(key, "dense", cell.subnetwork)
    return RunHead(key, f"{DENSE} ({cell.model})", tags, None, frozenset(units))


def _tags(key: str, kind: str, cell: Cell) -> dict[str, str]:
    named = {f"tamt.{name}": str(value) for name, value in cell.given.items()}
    return {"tamt.unit": key, "tamt.kind": kind, **named, "mlflow.source.name": "tamt_ray"}


def unit_tags(unit: Unit, record: Record) -> dict[str, str]:
    """Tags known once the unit is done."""
    if isinstance(unit.config, PretrainEvalConfig):
        return {"tamt.evaluation": canonical(unit.config.evaluation.model_dump(mode="json"))}
    return {"tamt.device": record.device, "tamt.place": record.place}


def unit_params(unit: Unit) -> dict[str, str]:
    """The config with its defaults, dotted; of a dense model only those that decide what it
    is: parameters of a run never change, and what is pruned of it or how it is evaluated might."""
    config = unit.config
    if isinstance(config, PretrainEvalConfig):
        if config.mask:
            return {}
        fields = {"source", "pooling"}
        dump = config.model_dump(mode="json", include={"model": fields}, exclude_none=True)
        dump |= {"method": DENSE, "sparsity": 0.0}
    else:
        dump = decisive_dump(config)
    return {key: value[:_LONGEST_PARAM] for key, value in _flat(dump, "")}


def _flat(value: object, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{at}.{number}")
    else:
        yield at, value if isinstance(value, str) else canonical(value)


def unit_points(record: Record, curves: list[Point], metric: str = "") -> list[Point]:
    """Final numbers under their own names at the end of the run, curves below the kind's name.

    The UI makes a section of everything before a slash.
    """
    end = record.started + record.seconds
    if record.kind == "pretrain_eval":
        return [Point(0, f"pretrain/{name}", value, end) for name, value in record.metrics.items()]
    metrics = led_by(metric, record.metrics) if metric else record.metrics
    finals = [Point(0, name, value, end) for name, value in metrics.items()]
    return finals + [
        Point(point.step, f"{record.kind}/{point.name}", point.value, point.time)
        for point in curves
    ]


def headline(unit: Unit) -> str:
    """Return the metric that leads a fine-tune's scores; empty for other units."""
    return unit.config.task.metric if isinstance(unit.config, FinetuneConfig) else ""


def curves_of(record: Record) -> str | None:
    """The name of the artifact with the curves, if the unit has any."""
    return _CURVES if _CURVES in record.artifacts and not record.bare else None


@dataclass(frozen=True, slots=True)
class Input:
    """A data set that went into a unit."""

    name: str
    digest: str
    scheme: str
    source: str


def unit_inputs(record: Record) -> list[Input]:
    """The sources the unit read, by what they are called and what was in them."""
    return [
        Input(_short(source)[:_LONGEST_DATASET], digest[:36], source.partition(":")[0], source)
        for source, digest in record.sources.items()
    ]


def _short(source: str) -> str:
    """`hf:a/b#c#train` is a/b#c#train; of a package or a directory the last part of the path."""
    scheme, _, rest = source.partition(":")
    if scheme == "hf":
        return rest
    path, *chosen = rest.split("#")
    last = path.rstrip("/").rpartition("/")[2]
    return "#".join([last, *(part for part in chosen if not part.startswith("sha256="))])
