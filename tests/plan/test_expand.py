"""The grid as units: how many, in which order, and which of them are one and the same."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamt_ray.methods.imp import ImpSearch
from tamt_ray.methods.omp import OmpSearch
from tamt_ray.methods.random import RandomSearch
from tamt_ray.methods.tamt import TamtSearch
from tamt_ray.objectives.kd import Kd
from tamt_ray.objectives.mlm import Mlm
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.plan.status import only, unit_path
from tamt_ray.plan.unit import Cell, FinetuneConfig, PretrainEvalConfig, Unit
from tamt_ray.spec.load import load_sweep, parse_sweep
from tamt_ray.values.model import ModelSize

ROOT = Path(__file__).parents[2]

SMALL = """
name: small
models: {mini: {source: "dir:m", head: {steps: 5}}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [random, omp, imp, {method: tamt_mlm, steps: 40}, {method: tamt_kd, steps: 40}]
sparsities: [0.3]
mask_seeds: [1, 2]
finetune_seeds: [1, 2]
tasks:
  stsb:
    kind: regression
    train: {source: "dir:s.csv"}
    validation: [{source: "dir:t.csv"}]
    text: [a, b]
"""


@pytest.fixture(scope="module")
def main_results() -> Plan:
    return expand(load_sweep(ROOT / "sweeps" / "main_results.yaml"))


@pytest.fixture(scope="module")
def small() -> Plan:
    return expand(parse_sweep(SMALL))


def searches(plan: Plan, method: str) -> list[Unit]:
    """Those of a method by the name it has in the sweep."""
    return [
        unit for unit in plan.units.values() if unit.kind == "search" and unit.cell.method == method
    ]


def test_the_main_results_have_the_papers_counts(main_results: Plan) -> None:
    """2 models × 8 sparsities; 3 mask seeds; 3 TAMT variants; 7 tasks × 3 seeds; 2 dense models."""
    kinds = Counter(unit.kind for unit in main_results.units.values())
    assert kinds == {"search": 256, "pretrain_eval": 256 + 2, "finetune": (256 + 2) * 7 * 3}
    methods = Counter(
        unit.cell.method for unit in main_results.units.values() if unit.kind == "search"
    )
    assert methods == {
        "omp": 16, "random": 48, "imp": 48, "tamt_mlm": 48, "tamt_kd": 48, "tamt_mlm_kd": 48,
    }  # fmt: skip
    assert len(main_results.masks) == 256


def test_parents_come_before_children(main_results: Plan, small: Plan) -> None:
    for plan in (main_results, small):
        seen: set[str] = set()
        for unit_id, unit in plan.units.items():
            assert unit.id == unit_id
            assert seen.issuperset(unit.parents), unit
            seen.add(unit_id)


def test_every_cell_has_its_unit(main_results: Plan) -> None:
    counts = {kind: len(cells) for kind, cells in main_results.cells.items()}
    assert counts == {"head": 0, "search": 256, "pretrain_eval": 258, "finetune": 5418}
    for kind, cells in main_results.cells.items():
        assert {main_results.units[unit].kind for unit in cells.values()} <= {kind}


def test_an_imp_level_needs_nothing_but_the_mask_below(main_results: Plan) -> None:
    """20 % starts from OMP at 10 %, computed in place; each further level has one parent."""
    levels = searches(main_results, "imp")
    by_id = {unit.id: unit for unit in levels}
    for unit in levels:
        config = unit.config
        assert isinstance(config, ImpSearch)
        assert config.start == 0.1
        if config.sparsity == 0.2:
            assert unit.parents == ()
        else:
            (parent,) = unit.parents
            below = by_id[parent].config
            assert isinstance(below, ImpSearch)
            assert below.sparsity == pytest.approx(config.sparsity - 0.1)
            assert (below.model.source, below.seed) == (config.model.source, config.seed)
    assert {u.config.sparsity for u in levels} == {0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}


def test_levels_on_the_way_are_units_but_no_cells() -> None:
    plan = expand(parse_sweep(SMALL.replace("[0.3]", "[0.5]")))
    levels = {u.id: u.config.sparsity for u in searches(plan, "imp")}
    assert sorted(levels.values()) == [s for s in (0.2, 0.3, 0.4, 0.5) for _ in range(2)]
    asked = [levels[unit] for unit in plan.cells["search"].values() if unit in levels]
    assert asked == [0.5, 0.5]
    masks = {u.config.mask for u in plan.units.values() if u.kind in {"pretrain_eval", "finetune"}}
    assert {levels[mask] for mask in masks if mask in levels} == {0.5}


def test_the_first_imp_level_is_omp_itself() -> None:
    plan = expand(parse_sweep(SMALL.replace("[0.3]", "[0.1]")))
    assert searches(plan, "imp") == []
    (omp,) = searches(plan, "omp")
    owners = [cell for cell, unit in plan.cells["search"].items() if unit == omp.id]
    assert owners == [Cell("mini", "omp", 0.1), Cell("mini", "imp", 0.1)]


def test_omp_has_no_seed_and_a_random_mask_one() -> None:
    assert "seed" not in OmpSearch.model_fields
    assert "mask_seed" not in OmpSearch.model_fields
    assert "seed" in RandomSearch.model_fields


def test_what_depends_on_what(small: Plan) -> None:
    """A trained head is needed where MLM loss is computed, and nowhere else."""
    (head,) = (u for u in small.units.values() if u.kind == "head")
    for unit in small.units.values():
        config = unit.config
        match config:
            case TamtSearch(objective=(Mlm(),)):
                assert unit.parents == (head.id,)
            case TamtSearch(objective=(Kd(),)):
                assert unit.parents == ()
            case ImpSearch(level_below=None):
                assert unit.parents == (head.id,)
            case ImpSearch(level_below=below):
                assert set(unit.parents) == {head.id, below}
            case PretrainEvalConfig(mask=mask):
                assert set(unit.parents) == {head.id, mask} - {None}
            case FinetuneConfig(mask=mask):
                assert unit.parents == ((mask,) if mask else ())
            case _:
                assert unit.parents == ()
    assert [u.parents for u in searches(small, "tamt_kd")] == [(), ()]


def test_the_dense_model_is_part_of_every_comparison(small: Plan) -> None:
    dense = [
        (kind, small.units[unit].config.mask)
        for kind, cells in small.cells.items()
        for cell, unit in cells.items()
        if (cell.method, cell.sparsity) == ("full", 0.0)
    ]
    assert dense == [("pretrain_eval", None), ("finetune", None), ("finetune", None)]


@pytest.mark.parametrize(
    ("entry", "probability", "one_token"),
    [
        ("tamt_mlm", 0.15, False),
        ("tamt_mlm_kd", 0.15, False),
        ("tamt_kd", 0.0, False),
        ("{method: tamt_kd, corruption: mlm}", 0.15, False),
        ("{method: tamt_kd, recipe: released_code}", 0.0, True),
        ("{method: tamt_mlm_kd, recipe: released_code}", 0.15, False),
    ],
)
def test_distillation_alone_reads_clean_text(
    entry: str, probability: float, one_token: bool
) -> None:
    before, _, after = SMALL.partition("methods: ")
    plan = expand(parse_sweep(f"{before}methods: [{entry}]\n{after.partition(chr(10))[2]}"))
    texts = {
        (unit.config.text.mlm_probability, unit.config.text.one_token)
        for unit in plan.units.values()
        if isinstance(unit.config, TamtSearch)
    }
    assert texts == {(probability, one_token)}


def test_an_evaluation_reads_corrupted_and_clean_text(small: Plan) -> None:
    """MLM takes one pass over the corrupted text; distillation two over the clean one, and none
    where the dense model itself is measured."""
    configs = [u.config for u in small.units.values() if u.kind == "pretrain_eval"]
    for config in configs:
        assert isinstance(config, PretrainEvalConfig)
        passes = [
            config.model_copy(update={"objectives": terms}).operations(ModelSize(1, 0), text=1) / 2
            for terms in [(Mlm(),), (Kd(),), (Mlm(), Kd())]
        ]
        assert passes == ([1, 2, 3] if config.mask else [1, 0, 1])


def test_gangs_train_and_the_fleet_does_the_rest(small: Plan) -> None:
    lanes = {
        (unit.kind, unit.cell.method if unit.kind == "search" else ""): unit.config.lane
        for unit in small.units.values()
    }
    assert lanes == {
        ("head", ""): "gang", ("search", "imp"): "gang", ("search", "tamt_mlm"): "gang",
        ("search", "tamt_kd"): "gang", ("search", "random"): "fleet", ("search", "omp"): "fleet",
        ("pretrain_eval", ""): "fleet", ("finetune", ""): "fleet",
    }  # fmt: skip


def test_two_sweeps_share_the_units_they_have_in_common(small: Plan) -> None:
    """Another store, another name, one more seed and sparsity: the old units are all there."""
    wider = SMALL.replace("name: small", "name: wide\nstore: elsewhere\nmlflow: sqlite:///m.db")
    wider = wider.replace("[0.3]", "[0.4, 0.3]").replace("_seeds: [1, 2]", "_seeds: [2, 5, 1]")
    plan = expand(parse_sweep(wider))
    assert small.units.keys() < plan.units.keys()


def test_what_decides_no_result_moves_no_unit_of_the_main_results(main_results: Plan) -> None:
    """Other validation text: all losses, of 256 masks and two dense models, and nothing else."""
    sweep = load_sweep(ROOT / "sweeps" / "main_results.yaml")
    validation = sweep.corpus.validation.model_copy(update={"split": "test", "part": "head"})
    other_text = sweep.corpus.model_copy(update={"validation": validation})
    cola = sweep.tasks["cola"].model_copy(update={"metric": "accuracy"})
    edits = {
        "validation": sweep.model_copy(update={"corpus": other_text}),
        "log_every": sweep.model_copy(
            update={"search": sweep.search.model_copy(update={"log_every": 1})}
        ),
        "metric": sweep.model_copy(update={"tasks": {**sweep.tasks, "cola": cola}}),
    }
    moved = {
        name: len(expand(edited).units.keys() - main_results.units.keys())
        for name, edited in edits.items()
    }
    assert moved == {"validation": 258, "log_every": 0, "metric": 0}


SPARSITIES = st.lists(st.integers(1, 9).map(lambda n: n / 10), min_size=1, max_size=4, unique=True)
SEEDS = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)


@settings(max_examples=15, deadline=None)
@given(sparsities=SPARSITIES, masks=SEEDS, runs=SEEDS)
def test_counts_of_any_grid(sparsities: list[float], masks: list[int], runs: list[int]) -> None:
    """The order of the lists changes neither the units nor that parents come first."""
    text = SMALL.replace("[0.3]", str(sparsities))
    text = text.replace("mask_seeds: [1, 2]", f"mask_seeds: {masks}")
    text = text.replace("finetune_seeds: [1, 2]", f"finetune_seeds: {runs}")
    plan = expand(parse_sweep(text))
    at_ten = 0.1 in sparsities
    imp_levels = round(max(sparsities) * 10) - 1
    random_and_tamt = 3 * len(sparsities) * len(masks)
    imp_masks = (len(sparsities) - at_ten) * len(masks)
    kinds = Counter(unit.kind for unit in plan.units.values())
    assert kinds["head"] == 1
    assert kinds["search"] == random_and_tamt + len(sparsities) + imp_levels * len(masks)
    assert len(plan.masks) == random_and_tamt + len(sparsities) + imp_masks
    assert kinds["pretrain_eval"] == len(plan.masks) + 1
    assert kinds["finetune"] == (len(plan.masks) + 1) * len(runs)
    seen: set[str] = set()
    for unit in plan.units.values():
        assert seen.issuperset(unit.parents)
        seen.add(unit.id)


def test_only_keeps_what_the_wanted_units_need(small: Plan) -> None:
    part = only(small, "finetune/mini/imp/0.3/1/stsb/2")
    assert sorted(map(unit_path, part.units.values())) == [
        "finetune/mini/imp/0.3/1/stsb/2", "head/mini", "search/mini/imp/0.2/1",
        "search/mini/imp/0.3/1",
    ]  # fmt: skip
    assert list(part.units) == [unit_id for unit_id in small.units if unit_id in part.units]
    for kind, cells in part.cells.items():
        assert cells == {c: unit for c, unit in small.cells[kind].items() if unit in part.units}
    assert set(only(small, "search/*/omp/*").units) == {u.id for u in searches(small, "omp")}
    assert only(small, "*").units == small.units
    assert not only(small, "search/*/omq/*").units
