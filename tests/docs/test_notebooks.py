"""Every cell of the notebooks in examples/ runs, in an empty folder and without the network."""

import ast
import json
from pathlib import Path

import pytest

import tamt_ray
from tamt_ray.api import load
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.expand import expand
from tamt_ray.search.team import ProcessGroup
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.store import Store

EXAMPLES = Path(__file__).parents[2] / "examples"


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


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.ipynb")))
def test_every_cell_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep of `your_task` runs as a user runs it, with Ray."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAMT_MIRROR", raising=False)
    if name != "your_task":
        monkeypatch.setattr(tamt_ray, "run", run_here)
    assert execute(EXAMPLES / f"{name}.ipynb") is not None
