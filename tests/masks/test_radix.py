"""The GPU's selection, without a GPU: in Triton's interpreter, and compiled ahead of time."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tamt_ray.masks.pruner import Matrices, Pruner, keep_by_sorting
from tamt_ray.masks.select import BracketPruner, keep_largest, make_pruner

HERE = Path(__file__).parent
Found = dict[str, Any]
GENERATIONS = "80", "90"
needs_triton = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="there is no Triton for this system",
)


def run(script: str, *words: str, cache: Path, **environment: str) -> Found:
    """What a script prints; a process of its own, as Triton is told once how to run."""
    done = subprocess.run(
        [sys.executable, HERE / script, *words],
        env={**os.environ, "TRITON_CACHE_DIR": str(cache), "PYTHONPATH": str(HERE.parents[1]),
             **environment},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What the interpreter finds."""
    cache = tmp_path_factory.mktemp("triton")
    return run("radix_interpreted.py", cache=cache, TRITON_INTERPRET="1")


@needs_triton
def test_the_kernels_prune_what_a_stable_sort_prunes(found: Found) -> None:
    """Ties, −0, NaN, infinities; nothing, something or everything pruned; |score|; once more."""
    assert found["compared"] == 66
    assert found["exact"] == [[], []]
    assert found["magnitude"] == []


@needs_triton
@pytest.mark.parametrize("comparison", ["above", "at_least"])
def test_the_kernels_find_and_obey_a_standing_threshold(found: Found, comparison: str) -> None:
    assert found[comparison] == []


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The kernels as compiled for two generations of GPUs."""
    return run("radix_compiled.py", *GENERATIONS, cache=tmp_path_factory.mktemp("triton"))


@needs_triton
@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_kernels_compile_for_gpus(compiled: Found, generation: str) -> None:
    """All large reads and writes are of four values at once."""
    kernels = compiled[generation]
    assert len(kernels) == 11
    assert all(kernel["binary"] for kernel in kernels.values())
    reading = [k for name, k in kernels.items() if not name.startswith("choose")]
    assert all(kernel["loads"] >= 8 for kernel in reading)
    assert kernels["write_kept"]["stores"] >= 8


def matrices(scores: torch.Tensor, zeros: int, *, magnitude: bool = False) -> Matrices:
    dense = torch.randn(scores.shape, generator=torch.Generator().manual_seed(0))
    return Matrices(
        {"a": scores}, {"a": dense}, {"a": torch.full_like(dense, 7.0)}, {"a": zeros}, magnitude
    )


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("zeros", [0, 1, 2500, 3600])
def test_without_triton_a_gpu_prunes_the_same(zeros: int, *, magnitude: bool) -> None:
    draw = np.random.default_rng(2)
    scores = torch.from_numpy(draw.normal(size=(60, 60)).astype(np.float32)).round(decimals=1)
    sorting = Pruner(matrices(scores, zeros, magnitude=magnitude))
    bracket = BracketPruner(matrices(scores, zeros, magnitude=magnitude))
    ranked = (scores.abs() if magnitude else scores).numpy()
    keep = np.ones(3600, bool)
    keep[np.lexsort((np.arange(3600), ranked.reshape(-1)))[:zeros]] = False
    for pruner in (sorting, bracket):
        pruner.prune()
        written = pruner.matrices.weights["a"]
        expected = torch.where(torch.from_numpy(keep).view(60, 60), pruner.matrices.dense["a"], 0)
        assert written.numpy().tobytes() == expected.numpy().tobytes()
    for at_least in (False, True):
        phi = sorting.thresholds(at_least=at_least)
        assert phi["a"] == bracket.thresholds(at_least=at_least)["a"]
        for pruner in (sorting, bracket):
            pruner.prune_at(phi, at_least=at_least)
        written = [pruner.matrices.weights["a"] for pruner in (sorting, bracket)]
        assert torch.equal(*written)


def test_nan_is_kept_like_the_largest_value() -> None:
    """A loss that is not finite ends a search a few steps later; until then devices agree."""
    scores = torch.randn(30_000, generator=torch.Generator().manual_seed(0))
    scores[::100] = torch.nan
    bracket = BracketPruner(matrices(scores, 21_000))
    bracket.prune()
    keep = keep_by_sorting(scores, 21_000)
    assert keep[::100].all()
    assert torch.equal(keep_largest(scores, 21_000), keep)
    expected = torch.where(keep, bracket.matrices.dense["a"], 0)
    assert torch.equal(bracket.matrices.weights["a"], expected)


def test_the_pruner_is_chosen_by_the_device() -> None:
    assert type(make_pruner(matrices(torch.zeros(4), 2))) is BracketPruner
    assert type(make_pruner(matrices(torch.zeros(4, device="meta"), 2))) is Pruner
