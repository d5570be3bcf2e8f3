"""Every sweep of the paper at toy scale: really trained, fine-tuned and reported."""

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tamt_ray.analysis.report.page import build_report
from tamt_ray.cli.results import report_files
from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.methods.base import Method
from tamt_ray.methods.imp import Imp
from tamt_ray.methods.tamt import Tamt
from tamt_ray.plan.expand import Plan, expand
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.execution import Execution
from tamt_ray.spec.load import load_sweep
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.union import unite
from tamt_ray.store.store import Store
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.classification import Classification
from tamt_ray.values.model import Model
from tamt_ray.values.table import Table
from tamt_ray.values.text import Corpus
from tamt_ray.values.training import Training

SWEEPS = Path(__file__).parents[2] / "sweeps"
MADE_BY: Mapping[str, set[str]] = {
    "main_results": {"main_results"},
    "magnitude_vs_random": {"pruning_alone"},
    "bert_vs_roberta": {"models_compared"},
    "pretraining_performance": {"losses_by_sparsity", "mlm_loss_by_task", "kd_loss_by_task"},
    "search_cost": {"search_cost", "search_cost_by_task_50", "search_cost_by_task_75"},
    "mask_init": {"initialisation"},
    "mask_similarity": {"mask_distances", "density"},
    "reduced_data": {"training_sizes"},
}
"""The figures each sweep is there for."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of letters and a task that asks for one word."""
    folder = tmp_path_factory.mktemp("toy")
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrst"
    for part, rows in (("train", 60), ("validation", 20)):
        words = [" ".join(draw.choices(letters, k=20)) for _ in range(rows)]
        (folder / f"{part}.txt").write_text("\n".join(words) + "\n")
        labelled = [
            {"text": f"{text[:9]} {('bad', 'good')[number % 2]}", "label": number % 2}
            for number, text in enumerate(words)
        ]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """Two copies of the tiny model, where BERT and RoBERTa would be."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("bert", "roberta"):
        shutil.copytree(model_dir, folder / name)
    return folder


def shrunk(sweep: Sweep, files: Path, models: Path) -> Sweep:
    """The same grid in little: tiny models, two sparsities, one seed, two tasks, few steps."""
    corpus = Corpus(
        train=Table(source=f"dir:{files}/train.txt"),
        validation=Table(source=f"dir:{files}/validation.txt"),
        block_size=16,
    )
    return sweep.model_copy(
        update={
            "models": {
                name: Model(source=f"dir:{models}/{name}", role=model.role)
                for name, model in sweep.models.items()
            },
            "corpus": corpus,
            "search": Training(batch_size=2, micro_batch=2, decay_steps=20, log_every=1),
            "methods": tuple(map(_few_steps, sweep.methods)),
            "execution": Execution(),
            "sparsities": (0.5, 0.75),
            "mask_seeds": (1,),
            "finetune_seeds": (1,),
            "tasks": {
                name: _words(task, files) for name, task in sweep.tasks.items() if name in _KEPT
            },
        }
    )


_KEPT = {"cola", "mnli"}


def _few_steps(method: Method) -> Method:
    match method:
        case Imp():
            some = (1,) if method.intervals else ()
            return method.model_copy(
                update={"step": 0.25, "steps": 2, "intervals": some, "lr": 1e-3}
            )
        case Tamt():
            some = (1,) if method.checkpoints else ()
            return method.model_copy(update={"steps": 3, "checkpoints": some, "lr": 5e-3})
        case _:
            return method


def _words(task: Task, files: Path) -> Classification:
    return Classification(
        kind="classification",
        role=task.role,
        train=Table(source=f"dir:{files}/train.jsonl"),
        validation=(Table(source=f"dir:{files}/validation.jsonl"),),
        text=("text",),
        epochs=1,
        lr=2e-3,
        reduced={20: 2, 40: 1} if task.reduced else {},
    )


@pytest.fixture(scope="module")
def sweeps(files: Path, models: Path) -> dict[str, Sweep]:
    """The parts of paper.yaml by name, in little."""
    whole = load_sweep(SWEEPS / "paper.yaml")
    return {part.name: shrunk(part, files, models) for part in whole.parts}


@pytest.fixture(scope="module")
def paper(sweeps: dict[str, Sweep]) -> Sweep:
    return unite({"name": "paper"}, list(sweeps.values()))


@pytest.fixture(scope="module")
def store(paper: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The union, computed once."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    bench = UnitRunner(store, ProcessGroup(), "here")
    for unit in expand(paper).units.values():
        bench.perform(unit)
    return store


def opened(sweep: Sweep, plan: Plan, store: Store) -> SweepContext:
    return SweepContext(Path("s.yaml"), sweep, plan, store, {}, {}).again(store)


def test_the_union_holds_every_unit_of_its_parts_once(
    paper: Sweep, sweeps: dict[str, Sweep]
) -> None:
    assert sweeps.keys() == MADE_BY.keys()
    parts = [set(expand(sweep).units) for sweep in sweeps.values()]
    union = set(expand(paper).units)
    assert union == set().union(*parts)
    assert len(union) < sum(map(len, parts))


@pytest.mark.parametrize("name", MADE_BY)
def test_each_sweep_draws_its_figures(name: str, sweeps: dict[str, Sweep], store: Store) -> None:
    """From the results of the union, without computing anything anew."""
    plan = expand(sweeps[name])
    found = opened(sweeps[name], plan, store)
    assert set(found.records) == set(plan.units)
    drawn = {path.removeprefix("figures/").removesuffix(".svg") for path in report_files(found)}
    missing = {figure for figure in MADE_BY[name] if not any(d.startswith(figure) for d in drawn)}
    assert not missing, sorted(drawn)


def test_the_union_draws_them_all(paper: Sweep, store: Store) -> None:
    plan = expand(paper)
    files = report_files(opened(paper, plan, store))
    page = files["report.html"].decode()
    for figures in MADE_BY.values():
        for figure in figures:
            assert any(path.startswith(f"figures/{figure}") for path in files), figure
    # The tiny models stand for none of the paper's.
    assert "role: bert" in page
    assert build_report(paper, plan, {}).keys() <= files.keys()
