"""The MLflow runs that a plan asks for: keys, names, parents, parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tamt_ray.plan.expand import DENSE, Plan
from tamt_ray.plan.unit import NOWHERE, Cell, FinetuneConfig, HeadConfig, PretrainEvalConfig, Unit
from tamt_ray.tasks.scores import Select
from tamt_ray.values.identity import canonical, decisive_dump, identity
from tamt_ray.values.model import Model

_LONGEST_PARAM = 6000
Role = Literal["compared", "checkpoint", "level"]
"""In the main results, kept during a search, or passed on the way to a higher sparsity."""


@dataclass(frozen=True)
class RunHead:
    """The part of an MLflow run that the plan alone decides."""

    key: str
    """Value of the tag `tamt.unit`: the id of the unit, or of the dense model."""
    name: str
    tags: Mapping[str, str]
    parent: str | None
    """Key of the run above it."""
    cell: Cell = NOWHERE
    """Cell of what it shows; without coordinates for the summary."""
    role: Role | None = None
    """Part of a mask or a dense model in the sweep; None for other runs."""
    params: Mapping[str, str] = field(default_factory=dict)
    own: Unit | None = None
    """The unit that the run shows; None for a dense model, which nothing computes."""
    evaluation: Unit | None = None
    """The pre-training evaluation of this subnetwork."""
    finetunes: tuple[Unit, ...] = ()
    """Fine-tunes of this subnetwork; their runs are the children."""
    select: Select = "all"
    """The examples that choose a fine-tune's best evaluation."""

    @property
    def leaf(self) -> bool:
        """True for a run that is never a parent."""
        return self.own is not None and self.own.kind in {"finetune", "head"}


@dataclass(frozen=True)
class Outline:
    """The runs of one plan."""

    runs: Mapping[str, RunHead]
    """Runs by their key, parents before children."""
    key_of: Mapping[str, str]
    """Key of the run that holds a unit."""


def outline(plan: Plan) -> Outline:
    """Return a run per subnetwork, dense model, MLM head and fine-tune; a pre-training evaluation
    is part of its subnetwork's run."""
    key_of = {unit.id: _key(unit) for unit in plan.units.values()}
    tunes: dict[str, list[Unit]] = {}
    evaluations: dict[str, Unit] = {}
    dense: dict[str, Unit] = {}
    for unit in plan.units.values():
        if isinstance(unit.config, FinetuneConfig | PretrainEvalConfig):
            above = unit.config.mask or _dense_key(unit.config.model)
            if unit.config.mask is None:
                dense.setdefault(above, unit)
            if isinstance(unit.config, FinetuneConfig):
                tunes.setdefault(above, []).append(unit)
            else:
                evaluations[above] = unit
    runs: dict[str, RunHead] = {}

    def add(
        key: str, name: str, kind: str, cell: Cell, role: Role | None, params: Mapping[str, str],
        own: Unit | None = None, parent: str | None = None,
    ) -> None:  # fmt: skip
        tags = tags_of(key, kind, cell) | ({"tamt.role": role} if role else {})
        below = tuple(tunes.get(key, ()))
        runs[key] = RunHead(
            key, name, tags, parent, cell, role, params, own, evaluations.get(key), below,
            plan.select,
        )  # fmt: skip

    for key, unit in dense.items():
        name = f"{DENSE} ({unit.cell.model})"
        add(key, name, "dense", unit.cell.subnetwork, "compared", _dense_params(unit))
    compared = plan.masks
    for unit in plan.units.values():
        config, cell = unit.config, unit.cell
        if isinstance(config, PretrainEvalConfig):
            continue
        parent: str | None = None
        role: Role | None = None
        if isinstance(config, FinetuneConfig):
            parent = config.mask or _dense_key(config.model)
            # The differing part comes first: the UI shows some twenty characters.
            name = f"{task_of(cell)} seed {cell.seed}, {_subnetwork(cell)}"
        elif isinstance(config, HeadConfig):
            name = f"mlm-head ({cell.model})"
        elif unit.id in compared:
            role = "compared" if cell.checkpoint is None else "checkpoint"
            name = _subnetwork(cell)
        else:
            role = "level"
            name = _subnetwork(cell, ", level on the way")
        params = _params(decisive_dump(config), cell)
        add(unit.id, name, unit.kind, cell, role, params, unit, parent)
    return Outline(runs, key_of)


def summary_head(sweep: str) -> RunHead:
    """Return the run of the whole sweep."""
    tags = tags_of("summary", "summary", NOWHERE)
    return RunHead("summary", f"summary of {sweep}", tags, None)


def task_of(cell: Cell) -> str:
    """Return the task of a fine-tune, with the size of a reduced training set."""
    return cell.task if cell.train_size is None else f"{cell.task} on {cell.train_size}"


def tags_of(key: str, kind: str, cell: Cell) -> dict[str, str]:
    """Return the tags by which a run is found."""
    named = {f"tamt.{name}": str(value) for name, value in cell.given.items()}
    return {"tamt.unit": key, "tamt.kind": kind, **named}


def _key(unit: Unit) -> str:
    if isinstance(unit.config, PretrainEvalConfig):
        return unit.config.mask or _dense_key(unit.config.model)
    return unit.id


def _dense_key(model: Model) -> str:
    return identity({"dense": model.model_dump(mode="json", include={"source", "pooling"})})


def _subnetwork(cell: Cell, more: str = "") -> str:
    words = [cell.method, *([str(cell.sparsity)] if cell.sparsity else [])]
    words += [] if cell.mask_seed is None else [f"mask {cell.mask_seed}"]
    words += [] if cell.checkpoint is None else [f"after {cell.checkpoint} steps"]
    return f"{' '.join(words)} ({cell.model}{more})"


def _dense_params(unit: Unit) -> dict[str, str]:
    """Return only what decides the dense model: parameters of a run never change, and what is
    pruned of it or how it is evaluated might."""
    fields = {"source", "pooling"}
    dump = unit.config.model_dump(mode="json", include={"model": fields}, exclude_none=True)
    return _params(dump, unit.cell.subnetwork)


def _params(dump: Mapping[str, object], cell: Cell) -> dict[str, str]:
    """Return a config, dotted, and the coordinates of its unit."""
    given = cell.given.items()
    return {key: value[:_LONGEST_PARAM] for key, value in _flat(dump, "")} | {
        "model.name" if name == "model" else name: str(value) for name, value in given
    }


def _flat(value: object, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{at}.{number}")
    else:
        yield at, value if isinstance(value, str) else canonical(value)
