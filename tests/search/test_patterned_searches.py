"""Trained searches under a pattern: exact after every step, from OMP's mask of that pattern."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tamt_ray.data.tokens import Blocks
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.layout import Layout
from tamt_ray.masks.mask import Mask
from tamt_ray.methods.base import Asked, Bench, Found, Grid, Search
from tamt_ray.methods.omp import Omp, OmpSearch
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.plan.expand import PlanError, expand
from tamt_ray.plan.unit import Unit
from tamt_ray.search.engine import Engine, Settings
from tamt_ray.search.imp import prune_trained
from tamt_ray.search.language_model import LanguageModel
from tamt_ray.search.loss import SearchLoss
from tamt_ray.search.mlm_corruption import Stream
from tamt_ray.search.movement import MovedWeights
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.search.tamt import MaskedWeights
from tamt_ray.spec.load import parse_sweep
from tamt_ray.store.store import Store
from tamt_ray.values.model import Model
from tamt_ray.values.training import Scoring

from .conftest import MakeModel
from .search_probes import settings

LoadBlocks = Callable[[Path], Blocks]
PATTERNS = ["2:4", "4x4", "heads:2"]


def without_embedding(path: Path) -> LanguageModel:
    return LanguageModel(path, prune=("*layer*",))


def shown(model: LanguageModel) -> dict[str, torch.Tensor]:
    """The mask that the model's own weights show; θ0 has no zeros."""
    return {name: weight.detach() != 0 for name, weight in model.matrices.items()}


def engine_of(
    model: LanguageModel, weights: MaskedWeights, blocks: Blocks, steps: Settings
) -> Engine:
    loss = SearchLoss(model, [Kd()])
    return Engine(loss, weights, Stream(blocks, 4, 5, 0.0), steps, ProcessGroup())


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("init", ["omp", "graded"])
def test_a_mask_training_keeps_the_pattern(
    bert: Path, train_blocks: LoadBlocks, pattern: str, init: str
) -> None:
    model, steps = without_embedding(bert), settings(6, 0.1)
    scoring = Scoring.model_validate({"init": init})
    weights = MaskedWeights(model, 0.5, scoring, 1, pattern)
    first = Mask.by_magnitude(model.dense, 0.5, pattern=pattern)
    assert all(torch.equal(keep, first[name]) for name, keep in shown(model).items())
    engine = engine_of(model, weights, train_blocks(bert), steps)
    for step in range(1, 7):
        engine.run(until=step)
        now = Mask(shown(model), pattern)
        assert now.sparsity == 0.5
    assert all(torch.equal(now[name], keep) for name, keep in weights.mask().items())
    assert any(not torch.equal(now[name], first[name]) for name in now), "nothing was learned"

    # Interrupted and gone on with.
    half = without_embedding(bert)
    begun = engine_of(
        half, MaskedWeights(half, 0.5, scoring, 1, pattern), train_blocks(bert), steps
    )
    begun.run(until=3)
    again = without_embedding(bert)
    resumed = MaskedWeights(again, 0.5, scoring, 1, pattern)
    later = engine_of(again, resumed, train_blocks(bert), steps)
    later.restore(begun.state())
    later.run()
    assert all(torch.equal(now[name], keep) for name, keep in resumed.mask().items())


@pytest.mark.parametrize("pattern", ["2:4", "4x4"])
def test_movement_reaches_the_pattern(bert: Path, train_blocks: LoadBlocks, pattern: str) -> None:
    model = without_embedding(bert)
    weights = MovedWeights(model, 0.5, 4, pattern)
    blocks, steps = train_blocks(bert), settings(6, 0.01)
    engine = Engine(SearchLoss(model, [Mlm()]), weights, Stream(blocks, 4, 5, 0.15), steps,
                    ProcessGroup())  # fmt: skip
    engine.run()
    assert Mask(shown(model), pattern).sparsity == 0.5
    assert weights.mask().pattern == pattern


def test_a_level_of_imp_prunes_within_the_pattern_below(bert: Path) -> None:
    model = without_embedding(bert)
    below = Mask.by_magnitude(model.dense, 0.25, pattern="3:4")
    with torch.no_grad():
        for weight in model.matrices.values():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    mask = prune_trained(model, below, 0.5, "2:4")
    assert mask.sparsity == 0.5
    assert not any(bool((mask[name] & ~below[name]).any()) for name in mask)


SWEEP = """
name: patterns
models: {m: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [{methods}]
sparsities: [0.5]
mask_seeds: [1]
"""


def searches(*methods: object) -> list[Search]:
    sweep = parse_sweep(yaml.safe_dump({**yaml.safe_load(SWEEP), "methods": list(methods)}))
    units = expand(sweep).units.values()
    return [unit.config for unit in units if isinstance(unit.config, Search)]


def test_every_method_passes_its_pattern_along() -> None:
    names = ["random", "omp", "wanda", "fisher", "movement", "tamt_kd"]
    found = searches(*({"method": name, "pattern": "2:4"} for name in names))
    assert {search.pattern for search in found} == {"2:4"}
    assert len(found) == len(names)


class Forgetful(Omp):
    """A plug-in that leaves the pattern out of its searches."""

    def searches(self, grid: Grid) -> Iterator[Asked]:
        for sparsity in grid.sparsities:
            yield Asked(OmpSearch(model=grid.model, sparsity=sparsity))


class Careless(OmpSearch):
    """One that leaves it out of its masks."""

    def find(self, bench: Bench) -> Found:
        return Found(Mask.by_magnitude(bench.model().dense, self.sparsity))


def test_a_method_that_forgets_its_pattern_is_refused(bert: Path, tmp_path: Path) -> None:
    sweep = parse_sweep(yaml.safe_dump({**yaml.safe_load(SWEEP), "methods": ["omp"]}))
    method = Forgetful(name="mine", pattern="2:4")
    with pytest.raises(PlanError, match="mine makes unstructured masks, not 2:4 ones"):
        expand(sweep.model_copy(update={"methods": (method,)}))
    unit = Unit(Careless(model=Model(source=f"dir:{bert}"), sparsity=0.5, pattern="2:4"))
    runner = UnitRunner(Store(str(tmp_path / "store")), ProcessGroup(), "here")
    with pytest.raises(ValueError, match="omp found a mask that is unstructured, not 2:4"):
        runner.perform(unit)


class Direct(Omp):
    """A plug-in that yields searches as they are."""

    def searches(self, grid: Grid) -> Iterator[Any]:
        for sparsity in grid.sparsities:
            yield OmpSearch(model=grid.model, sparsity=sparsity)


class Partial(OmpSearch):
    """One that leaves a matrix out."""

    def find(self, bench: Bench) -> Found:
        _, *others = bench.model().dense.items()
        return Found(Mask.by_magnitude(dict(others), self.sparsity))


class Bare(OmpSearch):
    """One that returns a mask as it is."""

    def find(self, bench: Bench) -> Any:  # noqa: ANN401 - that is its mistake
        return Mask.by_magnitude(bench.model().dense, self.sparsity)


def test_a_method_that_breaks_its_contract_is_refused(bert: Path, tmp_path: Path) -> None:
    """Before its mask is stored and fine-tunes are paid for."""
    sweep = parse_sweep(yaml.safe_dump({**yaml.safe_load(SWEEP), "methods": ["omp"]}))
    with pytest.raises(
        PlanError, match=r"mine: .* yields OmpSearch; it has to yield Asked\(search"
    ):
        expand(sweep.model_copy(update={"methods": (Direct(name="mine"),)}))
    runner = UnitRunner(Store(str(tmp_path / "store")), ProcessGroup(), "here")
    model = Model(source=f"dir:{bert}")
    with pytest.raises(ValueError, match=r"the mask is another model's: .*weight"):
        runner.perform(Unit(Partial(model=model, sparsity=0.5)))
    with pytest.raises(TypeError, match=r"`find` of Bare has to return Found\(mask: Mask\)"):
        runner.perform(Unit(Bare(model=model, sparsity=0.5)))
    assert not (tmp_path / "store").exists()


def test_the_levels_of_imp_lead_to_the_pattern() -> None:
    found = searches({"method": "imp", "step": 0.125, "pattern": "4:8"})
    assert [(s.sparsity, s.pattern) for s in found] == [(0.25, "6:8"), (0.375, "5:8"), (0.5, "4:8")]


def test_layouts_of_a_real_model(make_model: MakeModel) -> None:
    """RoBERTa's matrices have the names of BERT's behind another prefix."""
    model = without_embedding(make_model("roberta"))
    mask = Mask.by_magnitude(model.dense, 0.5, pattern="heads:2")
    pools = Layout({n: tuple(w.shape) for n, w in model.dense.items()}, "heads:2").pool(model.dense)
    assert len(pools) == 4
    assert mask.sparsity == 0.5
