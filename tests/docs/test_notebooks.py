"""Every cell of the notebooks in examples/ runs, in an empty folder and without the network."""

import ast
import json
from pathlib import Path

import pytest

import tamt_ray
from tamt_ray.api import load, run
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.expand import expand
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.store import Store

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))


def run_here(file: str) -> object:
    """What `tamt_ray.run` computes, in this process and without Ray."""
    sweep = load_sweep(Path(file))
    runner = UnitRunner(Store(sweep.store), ProcessGroup(), "here")
    for unit in expand(sweep).units.values():
        runner.perform(unit)
    return load(file)


def execute(notebook: Path) -> object:
    """Run the cells as Jupyter does; return the value that the last one shows."""
    names: dict[str, object] = {}
    shown: object = None
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"], "notebooks are kept without outputs"
        code = "".join(cell["source"])
        *statements, last = ast.parse(code).body
        if not isinstance(last, ast.Expr) or code.rstrip().endswith(";"):
            statements, last = [*statements, last], None
        exec(compile(ast.Module(statements, []), notebook.name, "exec"), names)  # noqa: S102
        if last:
            shown = eval(compile(ast.Expression(last.value), notebook.name, "eval"), names)
            getattr(shown, "_repr_html_", shown.__repr__)()
    return shown


def run_again(file: str) -> object:
    """The same, and the real `tamt_ray.run` on what is then done, which needs no Ray."""
    run_here(file)
    return run(file)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAMT_MIRROR", raising=False)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tamt_ray, "run", run_again if notebook.stem == "your_task" else run_here)
    assert execute(notebook) is not None


@pytest.mark.faults
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_with_ray(notebook: Path) -> None:
    assert execute(notebook) is not None
