"""The grid of a sweep as units, shared ones once, parents before children."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from tamt_ray.plan.unit import (
    FinetuneConfig,
    HeadConfig,
    ImpConfig,
    Kind,
    OmpConfig,
    PretrainEvalConfig,
    RandomConfig,
    TamtConfig,
    Unit,
    UnitConfig,
)
from tamt_ray.spec.base import Frozen
from tamt_ray.spec.method import Distillation, Imp, Method, Omp, Random, Scoring, Tamt, steps_at
from tamt_ray.spec.model import Model
from tamt_ray.spec.optimizer import Optimizer
from tamt_ray.spec.sweep import DENSE, Sweep
from tamt_ray.spec.task import Task

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
    return Plan(_in_order(grid.units), tuple(grid.cells.values()))


class _Grid:
    """What was asked for so far: shared units once, and each cell once."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.cells: dict[tuple[Kind, frozenset[tuple[str, Label]]], Cell] = {}

    def add(self, config: UnitConfig, labels: dict[str, Label], asked: bool = True) -> str:
        unit = Unit(config, labels)
        self.units.setdefault(unit.id, unit)
        if asked:
            cell = Cell(unit.id, unit.kind, labels)
            first = self.cells.setdefault((unit.kind, frozenset(labels.items())), cell)
            if first.unit != unit.id:
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
        for sparsity in sweep.sparsities:
            for config, labels, asked in _searches(sweep, model, head, method, sparsity):
                unit_id = grid.add(config, {"model": name, **labels}, asked)
                if asked:
                    subnetworks.append((unit_id, {"model": name, **labels}))
    for mask, labels in subnetworks:
        grid.add(
            PretrainEvalConfig(
                model=model, corpus=sweep.corpus, evaluation=sweep.pretrain_eval,
                mask=mask, head=head,
            ),
            labels,
        )  # fmt: skip
        for task_name, task in sweep.tasks.items():
            for size, sized in _sizes(task):
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


def _searches(
    sweep: Sweep, model: Model, head: str | None, method: Method, sparsity: float
) -> Iterator[tuple[UnitConfig, dict[str, Label], bool]]:
    """Units that lead to the masks of one method at one sparsity; True marks a mask itself."""
    labels: dict[str, Label] = {"method": method.name, "sparsity": sparsity}
    match method:
        case Omp():
            yield OmpConfig(model=model, sparsity=sparsity), labels, True
        case Random():
            for seed in sweep.mask_seeds:
                config = RandomConfig(model=model, sparsity=sparsity, seed=seed)
                yield config, {**labels, "mask_seed": seed}, True
        case Imp() if round(sparsity / method.step) <= 1:
            # The first level is OMP: nothing is trained, so all seeds share the one mask.
            yield OmpConfig(model=model, sparsity=sparsity), labels, True
        case Imp():
            for seed in sweep.mask_seeds:
                yield from _imp_chain(sweep, model, head, method, sparsity, seed, None)
                for interval in method.intervals:
                    if interval != method.steps:
                        yield from _imp_chain(sweep, model, head, method, sparsity, seed, interval)
        case Tamt():
            for seed in sweep.mask_seeds:
                yield from _tamt(sweep, model, head, method, sparsity, seed)


def _tamt(
    sweep: Sweep, model: Model, head: str | None, method: Tamt, sparsity: float, seed: int
) -> Iterator[tuple[UnitConfig, dict[str, Label], bool]]:
    """The mask after the last step, and those on the way to it or beyond it."""
    last = steps_at(method.steps, sparsity)
    assert last is not None, "the spec refuses a sparsity without steps"
    labels: dict[str, Label] = {"method": method.name, "sparsity": sparsity, "mask_seed": seed}
    for steps in (last, *(step for step in method.checkpoints if step != last)):
        config = TamtConfig(
            method=method.method, model=model, corpus=sweep.corpus, training=sweep.search,
            optimizer=_of(Optimizer, method), scoring=_of(Scoring, method),
            distillation=_of(Distillation, method), sparsity=sparsity, seed=seed, steps=steps,
            head=None if method.method == "tamt_kd" else head,
        )  # fmt: skip
        yield config, labels if steps == last else {**labels, "steps": steps}, True


def _imp_chain(
    sweep: Sweep,
    model: Model,
    head: str | None,
    method: Imp,
    sparsity: float,
    seed: int,
    interval: int | None,
) -> Iterator[tuple[UnitConfig, dict[str, Label], bool]]:
    """The levels up to `sparsity`, without the first one, which is OMP."""
    levels = [
        round(number * method.step, 10) for number in range(1, round(sparsity / method.step) + 1)
    ]
    below: str | None = None
    for level in levels[1:]:
        config = ImpConfig(
            model=model, corpus=sweep.corpus, training=sweep.search,
            optimizer=_of(Optimizer, method), sparsity=level, seed=seed,
            steps=interval or method.steps, start=levels[0], rewind=method.rewind, below=below,
            head=head,
        )  # fmt: skip
        labels: dict[str, Label] = {"method": method.name, "sparsity": level, "mask_seed": seed}
        if interval:
            labels["steps"] = config.iterations
        yield config, labels, level == levels[-1]
        below = Unit(config).id


def _of(kind: type[Part], whole: Part) -> Part:
    """The fields of `whole` that it has from `kind`."""
    return kind.model_validate(whole.model_dump(include=set(kind.model_fields)))


def _in_order(units: Mapping[str, Unit]) -> dict[str, Unit]:
    """Every unit behind what it needs; trajectories as chains from fewer to more steps."""
    chains: dict[str, list[Unit]] = {}
    for unit in units.values():
        if isinstance(unit.config, TamtConfig):
            chains.setdefault(unit.trajectory, []).append(unit)
    ordered: dict[str, Unit] = {}
    for unit in units.values():
        chain = chains.get(unit.trajectory, [unit])
        links = sorted(chain, key=_steps)
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
