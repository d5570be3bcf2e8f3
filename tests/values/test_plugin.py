"""Plug-ins of installed packages are used under their names, or refused with the reason."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tamt_ray.methods.registry import METHODS
from tamt_ray.objectives.base import OBJECTIVES
from tamt_ray.tasks.base import TASKS
from tamt_ray.tasks.metrics.base import METRICS, metrics_of
from tamt_ray.values.plugin import package_of

ROOT = Path(__file__).parents[2]

METHOD = '''\
"""Everything but one block."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from tamt_ray.methods.base import Asked, Bench, Found, Grid, Method, Search


class RowwiseSearch(Search):
    """One mask."""

    version: ClassVar[int] = 4
    method: Literal["rowwise"] = "rowwise"
    blocks: int = 3

    def find(self, bench: Bench) -> Found:
        """Nobody looks."""
        raise NotImplementedError


class Rowwise(Method):
    """Weights times activations."""

    unit: ClassVar[type[Search]] = RowwiseSearch
    method: Literal["rowwise"] = "rowwise"
    blocks: int = 3
    """Blocks of calibration text."""

    def searches(self, grid: Grid) -> Iterator[Asked]:
        """Yield one search per sparsity."""
        for sparsity in grid.sparsities:
            yield Asked(RowwiseSearch(model=grid.model, sparsity=sparsity, blocks=self.blocks))


class Unfinished(Method):
    """Has no `searches`."""

    unit: ClassVar[type[Search]] = RowwiseSearch
    method: Literal["unfinished"] = "unfinished"


class Nameless(Rowwise):
    """Names no unit of a method."""

    unit: ClassVar[type[Search]] = Search


class Omp(Rowwise):
    """Calls itself as one of ours does."""

    method: Literal["omp"] = "omp"


class Thing:
    """No method at all."""
'''
OTHERS = '''\
"""A loss term, a metric and one that is no metric."""

from typing import ClassVar, Literal

from tamt_ray.objectives.base import Objective
from tamt_ray.tasks.metrics.base import Answers, Metric


class Maps(Objective):
    """Attention maps."""

    version: ClassVar[int] = 2
    objective: Literal["maps"] = "maps"

    def loss(self, step):
        """Nothing to learn."""
        raise NotImplementedError


class MacroF1(Metric):
    """Mean F1."""

    name: ClassVar[str] = "macro_f1"
    answers: ClassVar[Answers] = "classes"

    @staticmethod
    def compute(predictions):
        """Nobody is right."""
        return 0.0


class Aimless(Metric):
    """Does not say what it measures."""

    name: ClassVar[str] = "aimless"

    @staticmethod
    def compute(predictions):
        """Nobody is right."""
        return 0.0
'''
ENTRY_POINTS = """\
[tamt_ray.methods]
rowwise = pruners:Rowwise
unfinished = pruners:Unfinished
nameless = pruners:Nameless
omp = pruners:Omp
thing = pruners:Thing
greedy = pruners_greedy:Greedy
broken = pruners_broken:Broken
absent = pruners:Absent
rowise = pruners:Rowwise

[tamt_ray.objectives]
maps = pruners_others:Maps

[tamt_ray.metrics]
macro_f1 = pruners_others:MacroF1
aimless = pruners_others:Aimless
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed distribution `pruners-for-us` and its modules."""
    path = tmp_path_factory.mktemp("installed")
    told = path / "pruners_for_us-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: pruners-for-us\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(ENTRY_POINTS)
    (path / "pruners.py").write_text(METHOD)
    (path / "pruners_others.py").write_text(OTHERS)
    # Stands for the real one, which takes seconds to load.
    (path / "mlflow.py").write_text("")
    (path / "pruners_greedy.py").write_text(
        "import mlflow\nfrom pruners import Rowwise as Greedy\n"
    )
    (path / "pruners_broken.py").write_text('raise RuntimeError("no\\nlibrary")\n')
    (path / "never_asked.py").write_text('raise SystemExit("loaded")\n')
    return path


def told(packages: Path, code: str) -> object:
    """What a fresh program prints as JSON with the packages installed."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"}, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_our_own_are_found_by_their_files() -> None:
    ours = {name for name, kind in METHODS.classes.items() if not package_of(kind)}
    assert ours == {
        "random", "omp", "imp", "imported", "tamt", "tamt_mlm", "tamt_kd", "tamt_mlm_kd",
        "wanda", "fisher", "movement", "shuffled",
    }  # fmt: skip
    assert {"mlm", "kd"} <= OBJECTIVES.classes.keys()
    assert {"classification", "regression", "spans"} <= TASKS.classes.keys()
    assert {"accuracy", "f1", "matthews"} <= metrics_of("classes").keys()
    assert {"pearson", "spearman"} <= metrics_of("numbers").keys()
    assert {"f1", "exact_match"} <= metrics_of("texts").keys()
    assert not METHODS.refused
    assert not METRICS.refused


def test_one_class_under_several_names_is_one_class() -> None:
    assert METHODS.classes["tamt_kd"] is METHODS.classes["tamt"]
    assert len(METHODS.distinct) == len({*METHODS.distinct}) < len(METHODS.classes)


SWEEP = """
name: small
models: {mini: {source: "dir:m"}}
corpus: {train: {source: "dir:a.txt"}, validation: {source: "dir:b.txt"}}
methods: [rowwise, {method: rowwise, name: wide, blocks: 9}]
sparsities: [0.5]
tasks:
  toy: {kind: classification, metric: macro_f1, train: {source: "dir:s.csv"},
        validation: [{source: "dir:t.csv"}], text: [a]}
"""
LEARNING = SWEEP.replace(
    "[rowwise, {method: rowwise, name: wide, blocks: 9}]",
    "[random, {method: tamt, objective: [mlm, maps], steps: 5}]\nmask_seeds: [1]",
)


@pytest.fixture(scope="module")
def used(packages: Path) -> dict[str, Any]:
    found = told(packages, f"""
from tamt_ray.values.identity import written
from tamt_ray.plan.unit import parse_config
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep
from tamt_ray.spec.schema import sweep_schema
from tamt_ray.values.identity import identity
units = expand(parse_sweep({SWEEP!r})).units.values()
learning = expand(parse_sweep({LEARNING!r})).units.values()
schema = sweep_schema()
print(json.dumps({{
    "measured": [
        written(unit.config)["objectives"] for unit in learning if unit.kind == "pretrain_eval"
    ],
    "searches": [written(unit.config) for unit in units if unit.kind == "search"],
    "task": [written(unit.config)["task"] for unit in units if unit.kind == "finetune"][0],
    "other": [str(u) for u in units if identity(parse_config(written(u.config))) != u.id],
    "schema": [name in schema for name in ("rowwise", "macro_f1", "maps")],
}}))
""")  # fmt: skip
    assert isinstance(found, dict)
    return found


def test_an_installed_package_s_are_used_like_ours(used: dict[str, Any]) -> None:
    """In a sweep, its plan and the schema; the id holds package and version."""
    one = {"kind": "search", "method": "rowwise", "model": {"source": "dir:m"}, "sparsity": 0.5,
           "package": "pruners-for-us", "version": 4}  # fmt: skip
    assert used["searches"] == [one, {**one, "blocks": 9}]
    assert used["task"]["measured"] == [["pruners-for-us", "macro_f1", 1]]
    assert used["schema"] == [True, True, True]


def test_every_mask_is_measured_on_a_package_s_loss_too(used: dict[str, Any]) -> None:
    """Beside those of the paper, of every mask and of the dense model."""
    maps = {"objective": "maps", "package": "pruners-for-us", "version": 2}
    assert used["measured"] == [[{"objective": "mlm"}, {"objective": "kd"}, maps]] * 3


def test_what_its_units_are_can_be_read_back_from_a_record(used: dict[str, Any]) -> None:
    assert used["other"] == []


REFUSED = {
    "unfinished": "pruners:Unfinished lacks searches",
    "nameless": "Search needs a field `method: Literal",
    "omp": "'omp' is a name of tamt_ray already",
    "thing": "pruners:Thing is no Method",
    "greedy": "pruners_greedy imports mlflow when it is loaded; import it inside the function",
    "broken": "RuntimeError: no library",
    "absent": "AttributeError: ",
    "rowise": "its entry point is called 'rowise', its class 'rowwise'; give both one name",
}


def test_a_unit_that_was_sent_to_another_process_has_its_id_there_too(packages: Path) -> None:
    """A worker gets it pickled and has read no sweep file."""
    sent = told(packages, f"""
import base64, pickle
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep
from tamt_ray.values.identity import identity
config = next(u.config for u in expand(parse_sweep({SWEEP!r})).units.values())
print(json.dumps([identity(config), base64.b64encode(pickle.dumps(config)).decode()]))
""")  # fmt: skip
    assert isinstance(sent, list)
    there = told(packages, f"""
import base64, pickle
config = pickle.loads(base64.b64decode({sent[1]!r}))
from tamt_ray.values.identity import identity
print(json.dumps(identity(config)))
""")  # fmt: skip
    assert there == sent[0]


def test_what_keeps_no_contract_is_refused_with_package_reason_and_remedy(packages: Path) -> None:
    found = told(packages, """
from tamt_ray.methods.registry import METHODS
from tamt_ray.tasks.metrics.base import METRICS
told = {**METHODS.refused, **METRICS.refused}
print(json.dumps({name: str(refused) for name, refused in told.items()}))
""")  # fmt: skip
    assert isinstance(found, dict)
    assert found.keys() == REFUSED.keys() | {"aimless"}
    for name, reason in {**REFUSED, "aimless": "Aimless needs `answers`, one of classes"}.items():
        assert f"the plug-in {name!r} of the package pruners-for-us" in found[name]
        assert reason in found[name]
        assert "pip uninstall pruners-for-us" in found[name]


MISTAKES = [
    ("[rowwise,", "[broken,", 5, "RuntimeError: no library"),
    ("metric: macro_f1", "metric: aimless", 8, "Aimless needs `answers`"),
    ("[rowwise,", "[never_asked,", 5, "unknown method 'never_asked'"),
    ("[rowwise,", "[rowwsie,", 5, "did you mean `rowwise`?"),
    ("macro_f1", "macro_f2", 8, "did you mean `macro_f1`?"),
    (
        "macro_f1",
        "spearman",
        8,
        "'spearman' measures numbers, and this kind of task answers with "
        "classes; valid are: accuracy, f1, matthews, macro_f1",
    ),
    ("[rowwise,", "[{method: tamt, objective: [map]},", 5, "did you mean `maps`?"),
]


def test_a_sweep_that_names_it_is_refused_at_its_line(packages: Path) -> None:
    """Only installed packages are loaded, whatever a file names."""
    texts = [SWEEP.replace(old, new) for old, new, _, _ in MISTAKES]
    found = told(packages, f"""
from tamt_ray.spec.load import SpecError, parse_sweep
complaints = []
for text in {texts!r}:
    try:
        parse_sweep(text, "s.yaml")
    except SpecError as error:
        complaints.append(str(error))
print(json.dumps(complaints))
""")  # fmt: skip
    assert isinstance(found, list)
    for complaint, (_, _, line, reason) in zip(found, MISTAKES, strict=True):
        assert complaint.startswith(f"s.yaml:{line}: ")
        assert reason in complaint


def test_a_sweep_that_names_no_refused_one_runs_without_anything_heavy(packages: Path) -> None:
    code = f"""
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep
import sys
units = expand(parse_sweep({SWEEP!r})).units
print(json.dumps([len(units), [n for n in ("torch", "ray", "transformers") if n in sys.modules]]))
"""
    # Two masks and the dense model: 2 searches, 3 evaluations, 3 × 3 fine-tunes.
    assert told(packages, code) == [14, []]


def test_a_package_that_takes_a_name_of_ours_takes_nothing_from_us(packages: Path) -> None:
    code = f"""
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import parse_sweep
units = expand(parse_sweep({SWEEP.replace("[rowwise,", "[omp,")!r})).units.values()
print(json.dumps([type(unit.config).__module__ for unit in units if unit.kind == "search"]))
"""
    assert told(packages, code) == ["tamt_ray.methods.omp", "pruners"]
