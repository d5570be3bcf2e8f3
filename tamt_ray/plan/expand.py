"""The grid of a sweep as units, shared ones once, parents before children."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace

from tamt_ray.methods.base import Asked
from tamt_ray.objectives.base import Objective
from tamt_ray.plan.unit import (
    KINDS,
    PAPER_TERMS,
    Cell,
    FinetuneConfig,
    HeadConfig,
    Kind,
    PretrainEvalConfig,
    Search,
    Unit,
    UnitConfig,
)
from tamt_ray.spec.sweep import DENSE, Sweep
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.scores import Select
from tamt_ray.values.identity import Identities
from tamt_ray.values.model import Model
from tamt_ray.values.text import Text


@dataclass(frozen=True)
class Plan:
    """A sweep as units."""

    units: Mapping[str, Unit]
    """Units by id, parents before children."""
    cells: Mapping[Kind, Mapping[Cell, str]]
    """Ids of the units that fill the grid; two cells may share one. A search that only leads to
    another one is a unit without a cell here."""
    select: Select = "all"
    """Choice of a fine-tune's evaluation in tables (`report.select`)."""

    @property
    def files(self) -> tuple[tuple[str, Search], ...]:
        """The searches that read files, each behind the name of its method."""
        return tuple(
            (unit.cell.method, unit.config)
            for unit in self.units.values()
            if isinstance(unit.config, Search) and unit.config.files
        )

    def part(self, wanted: Container[str]) -> "Plan":
        """Return the units with these ids, all that these need, and their cells."""
        needed: set[str] = set()
        for unit in reversed(list(self.units.values())):
            if unit.id in wanted or unit.id in needed:
                needed |= {unit.id, *unit.needs}
        units = {unit_id: unit for unit_id, unit in self.units.items() if unit_id in needed}
        cells: dict[Kind, dict[Cell, str]] = {
            kind: {cell: unit_id for cell, unit_id in each.items() if unit_id in units}
            for kind, each in self.cells.items()
        }
        return Plan(units, cells, self.select)

    @property
    def texts(self) -> frozenset[tuple[str, Text]]:
        """The texts that units train or are measured on, behind the source of their model."""
        return frozenset(
            (unit.config.model.source, value)
            for unit in self.units.values()
            for value in vars(unit.config).values()
            if isinstance(value, Text)
        )

    @property
    def masks(self) -> frozenset[str]:
        """Ids of the searches whose masks are compared."""
        return frozenset(self.cells["search"].values())


class PlanError(ValueError):
    """The sweep cannot be planned; the message says why."""


class AmbiguityError(PlanError):
    """Two units would have the same cell."""


def expand(sweep: Sweep) -> Plan:
    """Return every unit of the sweep. Raises AmbiguityError where parts of a union contradict, and
    PlanError where `searches` of a method does not keep its contract."""
    grid = _Grid()
    terms = measured_terms(sweep)
    for part in sweep.parts or (sweep,):
        for name, model in part.models.items():
            _fill(grid, part, name, model, terms)
    return Plan(_in_order(grid.units), grid.cells, sweep.report.select)


class _Grid:
    """The units and cells so far, each once."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.cells: dict[Kind, dict[Cell, str]] = {kind: {} for kind in KINDS}
        self.identities = Identities()

    def add(self, config: UnitConfig, cell: Cell, asked: bool = True) -> str:
        unit_id = self.identities.of(config)
        if unit_id not in self.units:
            self.units[unit_id] = Unit(config, cell, id=unit_id)
        if asked and self.cells[config.kind].setdefault(cell, unit_id) != unit_id:
            raise AmbiguityError(f"{config.kind} {cell} means two things; rename one of them")
        return unit_id


def _fill(grid: _Grid, sweep: Sweep, name: str, model: Model, terms: tuple[Objective, ...]) -> None:
    head = None
    if model.head:
        config = HeadConfig(model=model, text=sweep.corpus.training(), training=model.head)
        head = grid.add(config, Cell(name))
    subnetworks: list[tuple[str | None, Cell]] = [(None, Cell(name, DENSE, 0.0))]
    seen = sweep.grid(name, head)
    for method in sweep.methods:
        for asked in method.searches(seen):
            if not isinstance(asked, Asked):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise PlanError(
                    f"{method.name}: `searches` of its class yields {type(asked).__name__}; it has "
                    "to yield Asked(search)"
                )
            if asked.compared and asked.search.pattern != method.pattern:
                raise PlanError(
                    f"{method.name} makes {asked.search.pattern} masks, not {method.pattern} ones; "
                    "its class has to pass `pattern=self.pattern` to its searches"
                )
            cell = Cell(name, method.name, asked.search.sparsity, asked.mask_seed, asked.checkpoint)
            unit_id = grid.add(asked.search, cell, asked.compared)
            if asked.compared:
                subnetworks.append((unit_id, cell))
    tasks = [
        (task_name, size, sized)
        for task_name, task in sweep.tasks.items()
        for size, sized in _sizes(task)
    ]
    text = sweep.corpus.evaluation()
    for mask, cell in subnetworks:
        grid.add(
            PretrainEvalConfig(
                model=model, text=text, evaluation=sweep.pretrain_eval, objectives=terms,
                mask=mask, head=head,
            ),
            cell,
        )  # fmt: skip
        for task_name, size, sized in tasks:
            for seed in sweep.finetune_seeds:
                grid.add(
                    FinetuneConfig(model=model, task=sized, seed=seed, mask=mask),
                    replace(cell, task=task_name, train_size=size, seed=seed),
                )


def measured_terms(sweep: Sweep) -> tuple[Objective, ...]:
    """Return the loss terms that every mask of a sweep is measured on: those of the paper, and
    each further one that some method trains on."""
    found = {term.curve: term for term in PAPER_TERMS}
    for method in sweep.methods:
        for term in method.terms:
            # Losses are measured without their weight.
            found.setdefault(term.curve, term.model_copy(update={"weight": 1.0}))
    return tuple(found.values())


def _sizes(task: Task) -> Iterator[tuple[int | None, Task]]:
    """Yield the task itself, and it on each smaller training set, by that set's size."""
    whole = task.whole()
    yield None, whole
    for size, epochs in task.reduced.items():
        yield size, whole.model_copy(update={"max_train": size, "epochs": epochs})


def _in_order(units: Mapping[str, Unit]) -> dict[str, Unit]:
    """Return every unit behind what it needs; trajectories as chains from fewer to more steps."""
    trajectories = {
        unit.id: trajectory
        for unit in units.values()
        if isinstance(unit.config, Search) and (trajectory := unit.config.trajectory)
    }
    chains: dict[str, list[Unit]] = {}
    for unit_id, trajectory in trajectories.items():
        chains.setdefault(trajectory, []).append(units[unit_id])
    ordered: dict[str, Unit] = {}
    for unit in units.values():
        if unit.id not in trajectories:
            ordered[unit.id] = unit
            continue
        links = sorted(chains[trajectories[unit.id]], key=_steps)
        for number, link in enumerate(links):
            before = links[number - 1] if number else None
            ordered.setdefault(
                link.id,
                replace(
                    link,
                    after=before.id if before else None,
                    begin=_steps(before) if before else 0,
                    goes_on=link is not links[-1],
                ),
            )
    return ordered


def _steps(unit: Unit) -> int:
    return unit.config.own_steps if isinstance(unit.config, Search) else 0
