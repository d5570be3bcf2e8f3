"""The grid of a sweep as units, shared ones once, parents before children."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
from tamt_ray.spec.method import Imp, Method, Omp, Random, Tamt, steps_at
from tamt_ray.spec.model import Model
from tamt_ray.spec.sweep import DENSE, Sweep

Label = str | float | int


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


def expand(sweep: Sweep) -> Plan:
    """Every unit of the sweep."""
    units: dict[str, Unit] = {}
    cells: list[Cell] = []

    def add(config: UnitConfig, labels: dict[str, Label], asked: bool = True) -> str:
        unit = Unit(config, labels)
        units.setdefault(unit.id, unit)
        if asked:
            cells.append(Cell(unit.id, unit.kind, labels))
        return unit.id

    for name, model in sweep.models.items():
        head = None
        if model.head:
            head = add(
                HeadConfig(model=model, corpus=sweep.corpus, training=model.head), {"model": name}
            )
        subnetworks: list[tuple[str | None, dict[str, Label]]] = [
            (None, {"model": name, "method": DENSE, "sparsity": 0.0})
        ]
        for method in sweep.methods:
            for sparsity in sweep.sparsities:
                for config, labels, asked in _searches(sweep, model, head, method, sparsity):
                    unit_id = add(config, {"model": name, **labels}, asked)
                    if asked:
                        subnetworks.append((unit_id, {"model": name, **labels}))
        for mask, labels in subnetworks:
            add(
                PretrainEvalConfig(
                    model=model, corpus=sweep.corpus, evaluation=sweep.pretrain_eval,
                    mask=mask, head=head,
                ),
                labels,
            )  # fmt: skip
            for task_name, task in sweep.tasks.items():
                for seed in sweep.finetune_seeds:
                    add(
                        FinetuneConfig(model=model, task=task, seed=seed, mask=mask),
                        {**labels, "task": task_name, "seed": seed},
                    )
    return Plan(units, tuple(cells))


def _searches(
    sweep: Sweep, model: Model, head: str | None, method: Method, sparsity: float
) -> Iterator[tuple[UnitConfig, dict[str, Label], bool]]:
    """Units that lead to the masks of one method at one sparsity; True marks the mask itself."""
    labels: dict[str, Label] = {"method": method.name, "sparsity": sparsity}
    match method:
        case Omp():
            yield OmpConfig(model=model, sparsity=sparsity), labels, True
        case Random():
            for seed in sweep.mask_seeds:
                yield (
                    RandomConfig(model=model, sparsity=sparsity, seed=seed),
                    {**labels, "mask_seed": seed},
                    True,
                )
        case Imp() if round(sparsity / method.step) <= 1:
            # The first level is OMP: nothing is trained, so all seeds share the one mask.
            yield OmpConfig(model=model, sparsity=sparsity), labels, True
        case Imp():
            for seed in sweep.mask_seeds:
                yield from _imp_chain(sweep, model, head, method, sparsity, seed)
        case Tamt():
            steps = steps_at(method.steps, sparsity)
            assert steps is not None, "the spec refuses a sparsity without steps"
            for seed in sweep.mask_seeds:
                config = TamtConfig(
                    method=method.method, model=model, corpus=sweep.corpus, training=sweep.search,
                    sparsity=sparsity, seed=seed, steps=steps, lr=method.lr, init=method.init,
                    threshold=method.threshold, scale=method.scale, ranking=method.ranking,
                    head=None if method.method == "tamt_kd" else head,
                )  # fmt: skip
                yield config, {**labels, "mask_seed": seed}, True


def _imp_chain(
    sweep: Sweep, model: Model, head: str | None, method: Imp, sparsity: float, seed: int
) -> Iterator[tuple[UnitConfig, dict[str, Label], bool]]:
    """The levels up to `sparsity`, without the first one, which is OMP."""
    levels = [
        round(number * method.step, 10) for number in range(1, round(sparsity / method.step) + 1)
    ]
    below: str | None = None
    for level in levels[1:]:
        config = ImpConfig(
            model=model, corpus=sweep.corpus, training=sweep.search, sparsity=level, seed=seed,
            steps=method.steps, lr=method.lr, start=levels[0], below=below, head=head,
        )  # fmt: skip
        labels: dict[str, Label] = {"method": method.name, "sparsity": level, "mask_seed": seed}
        yield config, labels, level == levels[-1]
        below = Unit(config).id
