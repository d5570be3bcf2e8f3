"""Imports only point downwards through the rooms of the house, and heavy guests stay in theirs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tamt_ray"

MAY_IMPORT: dict[str, set[str]] = {
    "values": set(),
    "objectives": {"values"},
    "methods": {"objectives", "values"},
    "tasks": {"data", "values"},
    "spec": {"methods", "objectives", "tasks", "values"},
    "plan": {"spec", "methods", "objectives", "tasks", "values"},
    "store": {"plan", "methods", "values"},
    "data": {"values"},
    "masks": {"values"},
    "finetune": {"tasks", "masks", "data", "values"},
    "search": {"objectives", "masks", "data", "values"},
    "analysis": {"store", "plan", "masks", "spec", "methods", "tasks", "values"},
    # The shape of a training curve is kept with the searches that write it.
    "tracking": {"store", "plan", "spec", "tasks", "data", "values"},
}
MAY_IMPORT["execution"] = {*MAY_IMPORT}
MAY_IMPORT["cli"] = {*MAY_IMPORT}

IN_FUNCTIONS: dict[str, set[str]] = {"methods": {"search", "masks", "data"}}
"""Further imports of a room, in functions and for type checkers only."""

INNER: dict[str, list[set[str]]] = {
    "execution": [
        {"actors", "interruption", "rows"},
        {"scheduler"},
        {"worker"},
        {"gang", "fleet"},
        {"cluster"},
        {"activity", "places", "preflight", "profile", "proposer"},
        {"aggregator"},
        {"observer", "run_loop"},
        {"driver"},
    ],
    "analysis": [
        {"results", "artifacts", "roles", "tuning", "words"},
        {"stats"},
        {"report_data"},
        {"claims", "figures"},
        {"report"},
    ],
}
"""Layers of the two large rooms, lowest first: a module imports its own room and lower layers."""

PLUG_INS = ("methods", "objectives", "tasks")
LIVES_IN: dict[str, set[str]] = {
    "ray": {"execution"},
    "mlflow": {"tracking"},
    "torch": {"masks", "data", "search", "finetune", "execution", "tasks/features"},
    "transformers": {"data", "search", "finetune", "tasks/features"},
    "sklearn": set(),
    "scipy": {"analysis"},
    "typer": {"cli"},
    "rich": {"cli"},
    "vl_convert": {"analysis/figures"},
    "jinja2": {"analysis/report", "cli"},
    "optuna": {"execution"},
}
"""The only rooms that may import a library when they are loaded."""
COMPUTES_WITH: dict[str, set[str]] = {
    "torch": {*PLUG_INS}, "transformers": {"tasks"}, "sklearn": {"tasks"}, "scipy": {"tasks"},
}  # fmt: skip
"""Rooms that may import it where they compute as well; everywhere else nobody may at all."""

ABSTRACT = {
    "methods.base", "methods.search", "methods.one_shot", "methods.trained", "methods.registry",
    "objectives.base", "tasks.base", "tasks.predictions", "tasks.scores", "tasks.metrics.base",
    "tasks.features.examples",
}  # fmt: skip
"""Modules of plug-ins that the rest of the system may know."""
NAMED_BY_THE_PAPER = {
    # The losses that every mask is measured on.
    "plan/unit.py": {"objectives.kd.Kd", "objectives.mlm.Mlm"},
    # The mask that every trial is compared with.
    "plan/study.py": {"methods.omp.Omp"},
    "plan/tuning.py": {"methods.omp.Omp"},
    # The loss of an MLM head.
    "search/head.py": {"objectives.mlm.Mlm"},
}
"""The only places that name a plug-in, and which."""


def rooms() -> list[str]:
    return sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Each imported name, and whether only a function or a type checker asks for it."""
    return tuple(_imports(ast.parse(path.read_text()), path, False))


def _imports(node: ast.AST, path: Path, late: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield from ((alias.name, late) for alias in child.names)
            case ast.ImportFrom():
                assert child.level == 0, f"{path}: a relative import"
                yield from ((f"{child.module}.{alias.name}", late) for alias in child.names)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _imports(child, path, True)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _imports(child, path, True)
            case _:
                yield from _imports(child, path, late)


def test_every_room_is_in_the_table() -> None:
    assert set(rooms()) == MAY_IMPORT.keys()


@pytest.mark.parametrize("room", rooms())
def test_a_room_imports_only_what_lies_below(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    wrong = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in (PACKAGE / room).rglob("*.py")
        for name, late in imports(path)
        if name.startswith("tamt_ray.")
        and name.split(".")[1] not in (allowed | IN_FUNCTIONS.get(room, set()) if late else allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", INNER)
def test_a_layer_imports_only_its_own_room_and_what_lies_below(room: str) -> None:
    height = {name: level for level, names in enumerate(INNER[room]) for name in names}
    here = {path.stem for path in (PACKAGE / room).iterdir() if not path.stem.startswith("__")}
    assert here == height.keys()
    wrong: list[str] = []
    for path in (PACKAGE / room).rglob("*.py"):
        own = path.relative_to(PACKAGE / room).parts[0].removesuffix(".py")
        for name, _ in imports(path):
            if name.startswith(f"tamt_ray.{room}."):
                other = name.split(".")[2]
                if other != own and height[other] >= height[own]:
                    wrong.append(f"{path.relative_to(PACKAGE)}: {name}")
    assert wrong == []


def module_graph() -> dict[str, set[str]]:
    """The modules that each module imports, anywhere in its file."""
    paths = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
    }
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        named = (name for name, _ in imports(path) if name.split(".")[0] == "tamt_ray")
        found = {name if name in paths else name.rpartition(".")[0] for name in named}
        assert found <= paths.keys(), f"{module} imports {found - paths.keys()}"
        graph[module] = found - {module}
    return graph


def test_no_circle() -> None:
    """No module imports itself through others, in a function and for type checkers neither."""
    graph = module_graph()
    assert "tamt_ray.masks.radix" in graph["tamt_ray.masks.select"], "imports in functions count"
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("library", LIVES_IN)
def test_a_library_stays_in_its_rooms(library: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name, late in imports(path)
        if name.split(".")[0] == library and not at_home(library, path, late)
    ]
    assert wrong == []


def at_home(library: str, path: Path, late: bool) -> bool:
    place = path.relative_to(PACKAGE)
    # Modules for notebooks and for tests of plug-ins are no part of a run.
    homes = LIVES_IN[library] | (COMPUTES_WITH.get(library, set()) if late else set())
    return str(place) in {"api.py", "testing.py", "toy.py"} or any(
        place.is_relative_to(home) for home in homes
    )


def test_only_the_abstract_side_of_plug_ins_is_known_outside_their_rooms() -> None:
    """A method, loss term, task or metric is one file; nothing else asks which one it has."""
    named: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE)
        if place.parts[0] in PLUG_INS:
            continue
        for name, _ in imports(path):
            told = name.removeprefix("tamt_ray.")
            if told.split(".")[0] in PLUG_INS and told.rpartition(".")[0] not in ABSTRACT:
                named.setdefault(str(place), set()).add(told)
    assert named == NAMED_BY_THE_PAPER


def test_a_plan_is_made_without_anything_that_computes() -> None:
    """Loading the rooms of plug-ins, our own and other people's, loads nothing heavy."""
    code = "import sys, tamt_ray.plan.expand, tamt_ray.spec.load;print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, check=True, capture_output=True, text=True
    ).stdout.split()
    assert {"tamt_ray.methods.tamt", "tamt_ray.objectives.kd", "tamt_ray.tasks.spans"} <= {*loaded}
    heavy = {"torch", "ray", "transformers", "mlflow", "sklearn", "scipy"}
    assert heavy.isdisjoint(loaded)


WITHOUT_RAY = "masks objectives methods tasks search finetune data.archive data.checkpoint"
STARTED = f"""
import importlib, pkgutil, sys
from transformers import AutoModel, AutoModelForMaskedLM, BertForMaskedLM
def packages():
    return {{name.partition(".")[0] for name in sys.modules}}
before = packages()
for room in {WITHOUT_RAY.split()}:
    top = importlib.import_module("tamt_ray." + room)
    for module in pkgutil.walk_packages(getattr(top, "__path__", ()), top.__name__ + "."):
        if module.name != "tamt_ray.masks.radix":  # Triton's
            importlib.import_module(module.name)
print(*packages() - before)
"""


def test_rooms_without_ray_start_with_few_packages() -> None:
    """Beside Torch and transformers: pydantic, and Arrow for what is stored in tables."""
    loaded = subprocess.run(
        [sys.executable, "-c", STARTED], cwd=PACKAGE.parent, check=True, capture_output=True,
        text=True,
    ).stdout.split()  # fmt: skip
    foreign = {name for name in loaded if not name.startswith("_")} - sys.stdlib_module_names
    assert foreign <= {
        "tamt_ray", "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "pyarrow",
        "cloudpickle",
    }  # fmt: skip


def test_the_front_door_opens_on_the_command_line_only() -> None:
    assert {name.rpartition(".")[0] for name, _ in imports(PACKAGE / "sweep.py")} == {
        "tamt_ray.cli.entry"
    }


@pytest.mark.parametrize("actor", ["scheduler.actor", "aggregator"])
def test_actors_that_compute_nothing_load_nothing_to_compute_with(actor: str) -> None:
    """They stand within a second, again where they were lost, and fit on a small head node."""
    code = f"import sys, tamt_ray.execution.{actor}; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=False).returncode
        == 0
    )


ONE_MEANING = {
    "section": "the report has one per file",
    "main": "the entry point of a script",
    "run": "runs a sweep: `tamt run`, `tamt_ray.run` and the driver that both start",
    "submit": "sends a sweep to a cluster: `tamt submit` and the job behind it",
}
"""Public names in several modules, and why each means one thing all the same."""


def test_a_public_name_means_one_thing() -> None:
    """Classes, functions, aliases of types and constants over the whole package; no method."""
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in public_names(ast.parse(path.read_text())):
            places.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert twice.keys() == ONE_MEANING.keys(), twice


def public_names(module: ast.Module) -> Iterator[str]:
    """The names that a module defines, but for type variables: those mean nothing outside it."""
    for node in module.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found = [name]
            case ast.AsyncFunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                found = [name]
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
                found = []
            case ast.Assign(targets=targets):
                named = (each for target in targets for each in ast.walk(target))
                found = [each.id for each in named if isinstance(each, ast.Name)]
            case _:
                found = []
        yield from (name for name in found if not name.startswith("_"))
