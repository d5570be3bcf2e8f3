"""The grid of a sweep as units, shared ones once, parents before children."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from tamt_ray.plan.config import (
    FinetuneConfig,
    GivenConfig,
    HeadConfig,
    ImpConfig,
    Kind,
    OmpConfig,
    PretrainEvalConfig,
    RandomConfig,
    TamtConfig,
    UnitConfig,
)
from tamt_ray.plan.unit import Identities, Unit, identity_of
from tamt_ray.spec.method import (
    Distillation,
    Given,
    Imp,
    Method,
    Omp,
    Random,
    Scoring,
    Tamt,
    steps_at,
)
from tamt_ray.spec.sweep import DENSE, Sweep
from tamt_ray.spec.task import Task
from tamt_ray.values.base import Frozen
from tamt_ray.values.model import Model
from tamt_ray.values.optimizer import Optimizer

Label = str | float | int
Part = TypeVar("Part", bound=Frozen)


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the grid and the unit that fills it; two cells may share a unit."""

    unit: str
    kind: Kind
    labels: Mapping[str, Label]


@dataclass(frozen=True)
class Plan:
    """Units by id, parents before children, and the cells of the grid.

    `masks` are the searches that the grid asks for; IMP levels on the way to one are units only.
    """

    units: Mapping[str, Unit]
    cells: tuple[Cell, ...]

    @property
    def given(self) -> tuple[tuple[str, GivenConfig], ...]:
        """The masks that are read from files, each behind the name of its method."""
        return tuple(
            (str(unit.labels["method"]), unit.config)
            for unit in self.units.values()
            if isinstance(unit.config, GivenConfig)
        )

    @property
    def masks(self) -> frozenset[str]:
        """Ids of the searches whose masks are compared."""
        return frozenset(cell.unit for cell in self.cells if cell.kind == "search")


class AmbiguityError(ValueError):
    """Two units would go by the same labels."""


def expand(sweep: Sweep) -> Plan:
    """Every unit of the sweep. Raises AmbiguityError where parts of a union contradict."""
    grid = _Grid()
    for part in sweep.parts or (sweep,):
        for name, model in part.models.items():
            _fill(grid, part, name, model)
    return Plan(_in_order(grid.units), tuple(grid.cells))


class _Grid:
    """What was asked for so far: shared units once, and each cell once."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.cells: list[Cell] = []
        self.identities = Identities()
        self._filled: dict[tuple[Kind, *tuple[str, ...]], dict[tuple[Label, ...], str]] = {}
        """Ids by kind and names of the labels, then by their values."""

    def add(self, config: UnitConfig, labels: dict[str, Label], asked: bool = True) -> str:
        unit_id = self.identities.of(config)
        unit = self.units.get(unit_id)
        if unit is None:
            unit = self.units[unit_id] = Unit(config, labels, id=unit_id)
        if asked:
            filled = self._filled.setdefault((unit.kind, *labels), {})
            place = tuple(labels.values())
            if place not in filled:
                filled[place] = unit.id
                self.cells.append(Cell(unit.id, unit.kind, labels))
            elif filled[place] != unit.id:
                words = " ".join(map(str, labels.values()))
                raise AmbiguityError(f"{unit.kind} {words} means two things; rename one of them")
        return unit.id


def _fill(grid: _Grid, sweep: Sweep, name: str, model: Model) -> None:
    head = None
    if model.head:
        config = HeadConfig(model=model, corpus=sweep.corpus, training=model.head)
        head = grid.add(config, {"model": name})
    subnetworks: list[tuple[str | None, dict[str, Label]]] = [
        (None, {"model": name, "method": DENSE, "sparsity": 0.0})
    ]
    for method in sweep.methods:
        for config, labels, asked in _searches(sweep, name, model, head, method):
            named = {"model": name, **labels}
            unit_id = grid.add(config, named, asked)
            if asked:
                subnetworks.append((unit_id, named))
    tasks = [
        (task_name, size, sized)
        for task_name, task in sweep.tasks.items()
        for size, sized in _sizes(task)
    ]
    for mask, labels in subnetworks:
        grid.add(
            PretrainEvalConfig(
                model=model, corpus=sweep.corpus, evaluation=sweep.pretrain_eval,
                mask=mask, head=head,
            ),
            labels,
        )  # fmt: skip
        for task_name, size, sized in tasks:
            for seed in sweep.finetune_seeds:
                grid.add(
                    FinetuneConfig(model=model, task=sized, seed=seed, mask=mask),
                    {**labels, "task": task_name, **size, "seed": seed},
                )


def _sizes(task: Task) -> Iterator[tuple[dict[str, Label], Task]]:
    """The task itself, and on each smaller training set."""
    whole = task.model_copy(update={"reduced": {}})
    yield {}, whole
    for size, epochs in task.reduced.items():
        yield (
            {"train_size": size},
            whole.model_copy(update={"max_train": size, "epochs": epochs}),
        )


Found = Iterator[tuple[UnitConfig, dict[str, Label], bool]]
"""Units that lead to masks, with their labels; True marks a mask that is asked for."""


def _searches(sweep: Sweep, name: str, model: Model, head: str | None, method: Method) -> Found:
    """What one method needs, sparsity by sparsity."""
    match method:
        case Omp():
            for sparsity in sweep.sparsities:
                yield from _omp(model, method.name, sparsity)
        case Random():
            for sparsity in sweep.sparsities:
                for seed in sweep.mask_seeds:
                    config = RandomConfig(model=model, sparsity=sparsity, seed=seed)
                    yield config, _labels(method.name, sparsity, seed), True
        case Given():
            yield from _given(sweep, name, model, method)
        case Imp():
            yield from _imp(sweep, model, head, method)
        case Tamt():
            yield from _tamt(sweep, model, head, method)


def _omp(model: Model, name: str, sparsity: float) -> Found:
    labels: dict[str, Label] = {"method": name, "sparsity": sparsity}
    yield OmpConfig(model=model, sparsity=sparsity), labels, True


def _given(sweep: Sweep, name: str, model: Model, method: Given) -> Found:
    """A mask for each file that the name stands for."""
    seeds = sweep.mask_seeds if method.by_seed else sweep.mask_seeds[:1]
    for sparsity, seed in product(sweep.sparsities, seeds):
        labels: dict[str, Label] = {"method": method.name, "sparsity": sparsity}
        if method.by_seed:
            labels["mask_seed"] = seed
        file = method.file(name, sparsity, seed)
        yield GivenConfig(model=model, sparsity=sparsity, file=file), labels, True


def _labels(name: str, sparsity: float, seed: int) -> dict[str, Label]:
    return {"method": name, "sparsity": sparsity, "mask_seed": seed}


def _tamt(sweep: Sweep, model: Model, head: str | None, method: Tamt) -> Found:
    """The masks after the last step, and those on the way to it or beyond it."""
    optimizer, scoring = _of(Optimizer, method), _of(Scoring, method)
    distillation = _of(Distillation, method)
    for sparsity, seed in product(sweep.sparsities, sweep.mask_seeds):
        last = steps_at(method.steps, sparsity)
        assert last is not None, "the spec refuses a sparsity without steps"
        labels = _labels(method.name, sparsity, seed)
        for steps in (last, *(step for step in method.checkpoints if step != last)):
            config = TamtConfig(
                method=method.method, model=model, corpus=sweep.corpus, training=sweep.search,
                optimizer=optimizer, scoring=scoring, distillation=distillation,
                sparsity=sparsity, seed=seed, steps=steps,
                head=None if method.method == "tamt_kd" else head, workers=sweep.deciding_workers,
            )  # fmt: skip
            yield config, labels if steps == last else {**labels, "steps": steps}, True


def _imp(sweep: Sweep, model: Model, head: str | None, method: Imp) -> Found:
    """The levels up to each sparsity."""
    optimizer = _of(Optimizer, method)
    intervals = [None, *(interval for interval in method.intervals if interval != method.steps)]
    for sparsity in sweep.sparsities:
        if round(sparsity / method.step) <= 1:
            # The first level is OMP: nothing is trained, so all seeds share the one mask.
            yield from _omp(model, method.name, sparsity)
            continue
        for seed, interval in product(sweep.mask_seeds, intervals):
            yield from _imp_chain(sweep, model, head, method, optimizer, sparsity, seed, interval)


def _imp_chain(
    sweep: Sweep,
    model: Model,
    head: str | None,
    method: Imp,
    optimizer: Optimizer,
    sparsity: float,
    seed: int,
    interval: int | None,
) -> Found:
    """The levels up to `sparsity`, without the first one, which is OMP."""
    levels = [
        round(number * method.step, 10) for number in range(1, round(sparsity / method.step) + 1)
    ]
    below: str | None = None
    for level in levels[1:]:
        config = ImpConfig(
            model=model, corpus=sweep.corpus, training=sweep.search, optimizer=optimizer,
            sparsity=level, seed=seed, steps=interval or method.steps, start=levels[0],
            rewind=method.rewind, below=below, head=head, workers=sweep.deciding_workers,
        )  # fmt: skip
        labels = _labels(method.name, level, seed)
        if interval:
            labels["steps"] = config.iterations
        yield config, labels, level == levels[-1]
        below = identity_of(config)


def _of(kind: type[Part], whole: Part) -> Part:
    """The fields of `whole` that it has from `kind`."""
    return kind.model_validate(whole.model_dump(include=set(kind.model_fields)))


def _in_order(units: Mapping[str, Unit]) -> dict[str, Unit]:
    """Every unit behind what it needs; trajectories as chains from fewer to more steps."""
    trajectories = {
        unit.id: unit.trajectory for unit in units.values() if isinstance(unit.config, TamtConfig)
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
    return unit.config.steps if isinstance(unit.config, TamtConfig) else 0
