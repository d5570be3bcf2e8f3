"""The acceptance run of a GPU, at toy size on this CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import acceptance, graphs
from benchmarks.answer import Answer, at_most
from benchmarks.device import Device
from tamt_ray.masks import mask
from tests import tape

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
SMALL = {"hardware": 4, "micro-batches": 2, "graphs": 1, "search-graphs": 1, "nccl": 1}
"""Lines of sections that no other test runs; three of them say that they need a GPU."""
NEEDS = """
import sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    # Transformers imports some of these too, where they are.
    hidden = set(sys.argv[2].split())

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in cls.hidden:
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
from pathlib import Path
from transformers import AutoModel, AutoModelForMaskedLM, BertForMaskedLM, Trainer
before = {name.partition(".")[0] for name in sys.modules} | sys.stdlib_module_names
from benchmarks import acceptance, search_step, words
path, device = Path(sys.argv[1]), acceptance.DEVICE
device.shape.save(path)
search_step.masked_step(path, device.shape, acceptance.TERMS["mlm_kd"], device)()
words.Finetune(path, 1, device).ours()
after = {name.partition(".")[0] for name in sys.modules}
sys.stdout.write(" ".join(sorted(after - before)))
"""
HIDDEN = """
datasets jinja2 joblib mlflow optuna pandas polars pyarrow pypi_simple ray requests rich scipy
sklearn sqlalchemy typer vl_convert
"""


@without_gpu
@pytest.mark.parametrize(
    ("section", "lines"),
    [
        (acceptance.selection, 1),
        (acceptance.searches, 12),
        *((acceptance.SECTIONS[name][0], lines) for name, lines in SMALL.items()),
    ],
)
def test_each_section_runs(section: acceptance.Section, lines: int) -> None:
    torch.manual_seed(0)
    answers = list(section())
    assert len(answers) == lines
    assert all(answer.meets for answer in answers), answers


class OnTape(Device):
    """A toy that passes for a GPU; a tape stands in for CUDA graphs."""

    cuda = True
    torch = torch.device("cpu")

    def wait(self) -> None: ...

    def peak(self) -> int:
        return 0


def test_fine_tunes_with_graphs_are_held_against_those_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All but CUDA itself: the section's own code."""
    monkeypatch.setattr(graphs, "cuda_recorder", lambda: tape.record)
    monkeypatch.setattr(graphs, "_BATCHES", 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 0))
    monkeypatch.setattr(mask, "clear_pruned", torch._foreach_mul_)  # A tape does not see NumPy.
    answers = list(graphs.run(OnTape(toy=True)))
    assert len(answers) == 8
    assert all(answer.meets for answer in answers), answers


def test_searches_with_graphs_are_held_against_those_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "cuda_recorder", lambda: tape.record)
    monkeypatch.setattr(graphs, "_STEPS", 4)
    answers = list(graphs.searches(OnTape(toy=True)))
    assert len(answers) == 5
    assert all(answer.meets for answer in answers), answers


def test_beside_torch_and_transformers_it_needs_pydantic_and_no_more(tmp_path: Path) -> None:
    """A machine with a GPU need not have what the cluster, the tracker and the sources need. One
    step of a search and of a fine-tune run without."""
    done = subprocess.run(
        [sys.executable, "-c", NEEDS, str(tmp_path), HIDDEN],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) - {"safetensors"} == {
        "annotated_types", "benchmarks", "pydantic", "pydantic_core", "tamt_ray",
        "typing_inspection",
    }  # fmt: skip


def test_a_section_that_breaks_is_a_line_that_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["acceptance", "--only", "selection", "searches"])
    said = {
        "selection": [at_most("wrong bits", 3, 0, "bits"), at_most("speed", 1, 2, "ms")],
        "searches": [Answer("so much", 7)],
    }
    monkeypatch.setattr(acceptance, "_apart", lambda name, limit: said[name])
    assert acceptance.main() == 1
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last[0] == "1 lines meet their target, 1 miss it, 1 have none"
    assert last[1].split(maxsplit=4) == ["3", "bits", "<=", "0", "bits  MISSES   wrong bits"]
    monkeypatch.undo()
    (line,) = acceptance._apart("selection", 0.01)
    assert not line.meets
    assert "took more than" in line.detail
