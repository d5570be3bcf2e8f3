"""A real subnetwork of the tiny model, written out by the verb."""

import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.plan.expand import expand
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.store import Store

from .small import METRICS, SWEEP, by_path, call, finish

OMP = "search/mini/omp/0.5"


def umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


@pytest.fixture
def weights(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that may change."""
    return Path(shutil.copytree(model_dir, tmp_path / "model"))


@pytest.fixture
def found(tmp_path: Path, weights: Path) -> Path:
    """A sweep whose OMP mask is found."""
    file = tmp_path / "real.yaml"
    file.write_text(SWEEP.format(store=tmp_path / "results").replace("dir:m", f"dir:{weights}"))
    bench = UnitRunner(Store(str(tmp_path / "results")), ProcessGroup(torch.device("cpu")), "here")
    bench.perform(by_path(expand(load_sweep(file)), OMP))
    return file


def test_the_pruned_model_is_exported(found: Path, model_dir: Path, tmp_path: Path) -> None:
    to = tmp_path / "subnetwork"
    said = call("export", found, OMP, to)
    assert (said.exit_code, said.stdout) == (0, f"{to}\n"), said.stderr
    theirs = prunable_matrices(AutoModel.from_pretrained(model_dir))
    mask = Mask.by_magnitude(theirs, 0.5)
    ours = AutoModel.from_pretrained(to)
    for name, weight in theirs.items():
        assert torch.equal(ours.get_parameter(name), weight * mask[name]), name
    assert call("export", found, OMP, to).exit_code == 2, "what is there stays"
    modes = {path.stat().st_mode & 0o777 for path in to.iterdir()}
    assert modes == {0o666 & ~umask()}, "whoever may read the folder may read the weights"


def test_the_card_says_what_the_subnetwork_is(found: Path, weights: Path, tmp_path: Path) -> None:
    sweep, store = load_sweep(found), Store(str(tmp_path / "results"))
    plan = expand(sweep)
    finish(store, by_path(plan, "finetune/mini/omp/0.5/stsb/1"))
    (weights / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    assert call("export", found, OMP, tmp_path / "one").exit_code == 0
    card = (tmp_path / "one" / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "mit"
    assert front["tamt_ray"] == {
        "source": f"dir:{weights}", "method": "omp", "sparsity": 0.5, "mask_seed": None,
        "pattern": "unstructured", "pooling": "native", "unit": by_path(plan, OMP).id,
    }  # fmt: skip
    assert "| stsb | pearson | 75.0 | 1 | 0.0 |" in card
    assert "best of" not in card


def test_the_best_mask_of_each_sparsity_is_exported(found: Path, tmp_path: Path) -> None:
    """Random has one of two masks fine-tuned, and better than OMP's; the other cannot take part."""
    plan, store = expand(load_sweep(found)), Store(str(tmp_path / "results"))
    to = tmp_path / "best"
    none = call("export", found, to, "--best")
    assert (none.exit_code, "has all its fine-tunes" in none.stderr) == (2, True)
    bench = UnitRunner(store, ProcessGroup(torch.device("cpu")), "here")
    for seed in (1, 2):
        bench.perform(by_path(plan, f"search/mini/random/0.5/{seed}"))
    finish(store, by_path(plan, "finetune/mini/random/0.5/2/stsb/1"))
    worse = {**METRICS["finetune"], "best/pearson/pearson": 0.25}
    finish(store, by_path(plan, "finetune/mini/omp/0.5/stsb/1"), metrics=worse)
    said = call("export", found, to, "--best")
    assert (said.exit_code, said.stdout) == (0, f"{to / 'mini-0.5'}\n"), said.stderr
    card = (to / "mini-0.5" / "README.md").read_text()
    assert "| method | `random` |" in card
    assert "| mask seed | 2 |" in card
    assert "license_name: see-the-source" in card
    assert "the best of 2 masks" in card
    assert call("export", found, OMP, to, "--best").exit_code == 2


def test_no_mask_is_laid_on_weights_that_changed(
    found: Path, weights: Path, tmp_path: Path
) -> None:
    file = weights / "model.safetensors"
    twice = {name: 2 * weight for name, weight in load_file(file).items()}
    save_file(twice, file, {"format": "pt"})
    said = call("export", found, OMP, tmp_path / "subnetwork")
    assert said.exit_code == 2
    assert "is not what it was when the mask was found" in said.stderr
    assert not (tmp_path / "subnetwork").exists()
    assert call("export", found, OMP, tmp_path / "mask.safetensors").exit_code == 0


def test_an_exported_model_is_entered_into_mlflow_once(found: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    for name in ("first", "again"):
        said = call("export", found, OMP, tmp_path / name, "--mlflow")
        assert said.exit_code == 0, said.stderr
    client = MlflowClient(load_sweep(found).mlflow)
    (experiment,) = client.search_experiments(filter_string="name = 'small'")
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert (model.name, str(model.status)) == ("mini-omp-0_5", "READY")
    assert model.params == {"model": "mini", "method": "omp", "sparsity": "0.5"}
    run = client.get_run(model.source_run_id)
    assert run.data.tags["tamt.unit"] == model.tags["tamt.unit"]
    assert run.data.metrics["system/memory_bytes"] > 1e6
    files = {Path(each.path).name for each in client.list_logged_model_artifacts(model.model_id)}
    assert files >= {"model.safetensors", "mask.safetensors", "README.md"}
    refused = call("export", found, OMP, tmp_path / "mask.safetensors", "--mlflow")
    assert refused.exit_code == 2
