"""Imports only point downwards through the rooms of the house, and heavy guests stay in theirs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tamt_ray"

MAY_IMPORT: dict[str, set[str]] = {
    "values": set(),
    "spec": {"values"},
    "plan": {"spec", "values"},
    "store": {"plan", "spec", "values"},
    "data": {"values"},
    "masks": {"values"},
    "finetune": {"masks", "data", "spec", "values"},
    "search": {"masks", "data", "spec", "values"},
    "analysis": {"store", "plan", "masks", "spec", "values"},
    # The shape of a training curve is kept with the searches that write it.
    "tracking": {"store", "plan", "spec", "data", "values"},
}
MAY_IMPORT["execution"] = {*MAY_IMPORT}
MAY_IMPORT["cli"] = {*MAY_IMPORT}

LIVES_IN: dict[str, set[str]] = {
    "ray": {"execution"},
    "mlflow": {"tracking"},
    "torch": {"masks", "data", "search", "finetune", "execution"},
    "transformers": {"data", "search", "finetune"},
    "typer": {"cli"},
    "rich": {"cli"},
    "matplotlib": {"analysis"},
}
"""The only rooms that may import a library, at any depth of a file."""


def rooms() -> list[str]:
    return sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_is_in_the_table() -> None:
    assert set(rooms()) == MAY_IMPORT.keys()


@pytest.mark.parametrize("room", rooms())
def test_a_room_imports_only_what_lies_below(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room, "__version__"}
    wrong = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in (PACKAGE / room).rglob("*.py")
        for name in imports(path)
        if name.startswith("tamt_ray.") and name.split(".")[1] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("library", LIVES_IN)
def test_a_library_stays_in_its_rooms(library: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] == library
        and path.relative_to(PACKAGE).parts[0] not in LIVES_IN[library]
    ]
    assert wrong == []


def test_the_front_door_opens_on_the_command_line_only() -> None:
    assert {name.rsplit(".", 1)[0] for name in imports(PACKAGE / "sweep.py")} == {
        "tamt_ray.cli.app"
    }


@pytest.mark.parametrize("actor", ["board_actor", "aggregator"])
def test_actors_that_compute_nothing_load_nothing_to_compute_with(actor: str) -> None:
    """They stand within a second, again where they were lost, and fit on a small head node."""
    code = f"import sys, tamt_ray.execution.{actor}; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=False).returncode
        == 0
    )
