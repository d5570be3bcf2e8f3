"""A sweep file laid over another one, and the union of several."""

from pathlib import Path

import pytest

from tamt_ray.methods.imp import Imp
from tamt_ray.methods.tamt import Tamt
from tamt_ray.plan.expand import AmbiguityError, expand
from tamt_ray.spec.load import SpecError, load_sweep

BASE = """\
name: base
models: {big: {source: "dir:m"}, small: {source: "dir:n"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [random, omp, {method: tamt_kd, steps: 40}]
sparsities: [0.5, 0.7]
mask_seeds: [1, 2]
finetune_seeds: [1]
tasks:
  stsb: {kind: regression, train: {source: "dir:s.csv"}, validation: [{source: "dir:t.csv"}],
         text: [a, b]}
  movies: {kind: classification, train: {source: "dir:u.csv"}, validation: [{source: "dir:v.csv"}],
           text: [c]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def written(folder: Path, text: str, name: str = "over.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_mappings_merge_null_removes_and_lists_replace(folder: Path) -> None:
    """The three rules of RFC 7386."""
    text = (
        "extends: base.yaml\nname: over\nmodels: {small: null}\nmethods: [omp]\n"
        "tasks: {movies: null, stsb: {lr: 1e-3}}\n"
    )
    sweep = load_sweep(written(folder, text))
    assert sweep.name == "over"
    assert list(sweep.models) == ["big"]
    assert [method.name for method in sweep.methods] == ["omp"]
    assert list(sweep.tasks) == ["stsb"]
    assert (sweep.tasks["stsb"].lr, sweep.tasks["stsb"].epochs) == (1e-3, 3)
    assert sweep.sparsities == (0.5, 0.7)


def test_files_extend_in_a_row(folder: Path) -> None:
    written(folder, "extends: base.yaml\nname: middle\nsparsities: [0.9]\n", "middle.yaml")
    sweep = load_sweep(written(folder, "extends: middle.yaml\nname: over\nmask_seeds: [5]\n"))
    assert (sweep.sparsities, sweep.mask_seeds, sweep.finetune_seeds) == ((0.9,), (5,), (1,))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("extends: base.yaml\nname: over\ntasks: {stsb: {lr: -1}}\n", "over.yaml:3: `tasks.stsb"),
        ("extends: base.yaml\nmodels: {big: {sorce: 'dir:m'}}\n", "over.yaml:2: unknown key"),
        ("name: over\nextends: bse.yaml\n", "over.yaml:2: there is no file"),
        ("extends: [base.yaml]\n", "over.yaml:1: `extends` names one sweep file"),
        ("extends: over.yaml\n", "over.yaml:1: over.yaml extends this file in turn"),
    ],
)
def test_complaints_name_the_file_and_line_to_mend(folder: Path, text: str, complaint: str) -> None:
    with pytest.raises(SpecError) as error:
        load_sweep(written(folder, text))
    assert complaint in str(error.value)


def test_a_fault_inherited_is_shown_where_it_stands(folder: Path) -> None:
    written(folder, BASE.replace("sparsities: [0.5, 0.7]", "sparsities: [0.5, 1.7]"), "base.yaml")
    with pytest.raises(SpecError, match=r"base\.yaml:5: "):
        load_sweep(written(folder, "extends: base.yaml\nname: over\n"))


@pytest.mark.parametrize("key", ["extends: {}", "parts: [{}]"])
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("a\\0b", "embedded null byte"),
        ("a" * 5_000, "File name too long"),
    ],
    ids=["a null byte", "5,000 characters"],
)
def test_what_is_no_path_gets_a_line(folder: Path, key: str, name: str, complaint: str) -> None:
    path = written(folder, "name: a\n" + key.format(f'"{name}"') + "\n", "a.yaml")
    with pytest.raises(
        SpecError, match=rf"^\S*a\.yaml:2: 'a.*'…? is no path to \w+: {complaint}$"
    ) as caught:
        load_sweep(path)
    assert len(str(caught.value)) < 300


def test_a_circle_is_refused(folder: Path) -> None:
    written(folder, "extends: over.yaml\n", "middle.yaml")
    with pytest.raises(SpecError, match="extends this file in turn"):
        load_sweep(written(folder, "extends: middle.yaml\n"))


def test_inherited_parts_lie_beside_the_file_that_names_them(folder: Path) -> None:
    written(folder, "extends: base.yaml\nname: a\nmodels: {small: null}\n", "a.yaml")
    written(folder, "name: both\nparts: [a.yaml]\n", "both.yaml")
    (folder / "below").mkdir()
    mine = written(folder, "extends: ../both.yaml\nname: mine\n", "below/mine.yaml")
    assert [part.name for part in load_sweep(mine).parts] == ["a"]


def test_a_union_plans_what_is_shared_once(folder: Path) -> None:
    """Parts: 0.5 and 0.7 with omp and random; 0.7 and 0.9 with omp only."""
    written(folder, "extends: base.yaml\nname: a\nmodels: {small: null}\nmethods: [omp, random]\n",
            "a.yaml")  # fmt: skip
    written(
        folder,
        "extends: base.yaml\nname: b\nmodels: {small: null}\nmethods: [omp]\n"
        "sparsities: [0.7, 0.9]\n",
        "b.yaml",
    )
    union = load_sweep(written(folder, "name: both\nparts: [a.yaml, b.yaml]\n"))
    plans = [expand(load_sweep(folder / name)) for name in ("a.yaml", "b.yaml")]
    both = expand(union)
    assert set(both.units) == {unit for plan in plans for unit in plan.units}
    # Masks: omp .5 .7 .9, random .5 .7 twice; dense beside them: 8 subnetworks, 2 tasks.
    kinds = [unit.kind for unit in both.units.values()]
    assert (kinds.count("search"), kinds.count("pretrain_eval"), kinds.count("finetune")) == (
        7, 8, 16,
    )  # fmt: skip
    assert sum(map(len, both.cells.values())) == 31
    assert union.sparsities == (0.5, 0.7, 0.9)
    assert [method.name for method in union.methods] == ["omp", "random"]


def test_parts_may_ask_for_other_checkpoints_and_sizes(folder: Path) -> None:
    head = "extends: base.yaml\nmodels: {small: null}\nsparsities: [0.5]\n"
    a = "name: a\nmethods: [{method: tamt_kd, steps: 40, checkpoints: [10, 20]}, {method: imp}]\n"
    b = "name: b\nmethods: [{method: tamt_kd, steps: 40, checkpoints: [20, 60]}," \
        " {method: imp, intervals: [9]}]\ntasks: {stsb: {reduced: {100: 8}}}\n"  # fmt: skip
    written(folder, head + a, "a.yaml")
    written(folder, head + b, "b.yaml")
    union = load_sweep(written(folder, "name: both\nparts: [a.yaml, b.yaml]\n"))
    kd, imp = union.methods
    assert isinstance(kd, Tamt)
    assert isinstance(imp, Imp)
    assert (kd.checkpoints, imp.intervals) == ((10, 20, 60), (9,))
    assert union.tasks["stsb"].reduced == {100: 8}
    chain = [unit for unit in expand(union).units.values() if unit.trajectory != unit.id]
    seeds = {unit.cell.mask_seed for unit in chain}
    assert len(chain) == 4 * len(seeds)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("tasks: {stsb: {lr: 1e-3}}\n", "over.yaml:2: the task 'stsb' is not the same"),
        ("models: {big: {pooler: true}}\n", "over.yaml:2: the model 'big' is not the same"),
        ("methods: [{method: tamt_kd, steps: 41}]\n", "over.yaml:2: the method 'tamt_kd'"),
        ("corpus: {block_size: 64}\n", "over.yaml:2: base and other differ in `corpus`"),
    ],
)
def test_parts_that_contradict_are_refused(folder: Path, change: str, complaint: str) -> None:
    written(folder, f"extends: base.yaml\nname: other\n{change}", "other.yaml")
    with pytest.raises(SpecError) as error:
        load_sweep(written(folder, "name: both\nparts: [base.yaml, other.yaml]\n"))
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: u\nparts: [base.yaml, nothing.yaml]\n", "over.yaml:2: there is no file"),
        ("name: u\nparts: base.yaml\n", "over.yaml:2: `parts` lists sweep files"),
        ("name: u\nparts: [base.yaml]\nsparsities: [0.5]\n",
         "over.yaml:3: a union of sweeps has no `sparsities`"),
        ("name: u\nparts: [base.yaml]\nexecution: {retries: -1}\n", "over.yaml:3:"),
        ("name: u\nparts: [compiled.yaml]\nexecution: {search: {graphs: true}}\n",
         "over.yaml:3: `execution.search.graphs`: an encoder under `search.compile`"),
    ],
)  # fmt: skip
def test_a_union_has_nothing_of_its_own(folder: Path, text: str, complaint: str) -> None:
    written(folder, "extends: base.yaml\nname: c\nsearch: {compile: true}\n", "compiled.yaml")
    with pytest.raises(SpecError) as error:
        load_sweep(written(folder, text))
    assert complaint in str(error.value)


def test_one_cell_cannot_mean_two_units(folder: Path) -> None:
    """A task by one name and settings, but with another dense model behind the same cell."""
    sweep = load_sweep(folder / "base.yaml")
    twin = sweep.model_copy(update={"models": {"big": sweep.models["small"]}})
    with pytest.raises(AmbiguityError, match="means two things"):
        expand(sweep.model_copy(update={"parts": (sweep, twin)}))
