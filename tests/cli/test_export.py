"""A real subnetwork of the tiny model, written out by the verb."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.masks.mask import Mask
from tamt_ray.masks.matrices import prunable_matrices
from tamt_ray.plan.expand import expand
from tamt_ray.search.team import ProcessGroup
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.store import Store

from .small import SWEEP, by_path, call

OMP = "search/mini/omp/0.5"


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
