"""The number of workers does not change a search beyond the order of summation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.values.text import Corpus

from .search_worker import METHODS, STEPS, search_all

SCRIPT = Path(__file__).with_name("search_worker.py")

_LEAST, _FAR = {"short": 0.99}, {"short": 1e-2}
"""Bits equal and losses' relative distance where gradients travel in bfloat16."""


def test_two_workers_find_what_one_finds(noisy: Path, corpus: Corpus, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    call = [str(tmp_path / "rendezvous"), str(noisy), corpus.model_dump_json(), str(together)]
    workers = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), *call], env=environment)
        for rank in (0, 1)
    ]
    try:
        search_all(ProcessGroup(), noisy, corpus.model_dump_json(), alone)
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    one = load_file(alone / "0.safetensors")
    two, other = (load_file(together / f"{rank}.safetensors") for rank in (0, 1))
    for method in METHODS:
        names = [name for name in one if name.startswith(f"{method} ")]
        assert len(names) == 13
        assert all(two[name].equal(other[name]) for name in names), "the workers disagree"
        total = sum(one[name].numel() for name in names)
        equal = sum(int((one[name] == two[name]).sum()) for name in names)
        assert equal / total >= _LEAST.get(method, 0.999), f"{method}: {equal} of {total} bits"
    single, double = (json.loads((path / "0.json").read_text()) for path in (alone, together))
    assert (together / "1.json").read_text() == (together / "0.json").read_text()
    for method, losses in single.items():
        assert len(losses) == STEPS
        assert double[method] == pytest.approx(losses, rel=_FAR.get(method, 1e-4)), method
    # What is sent in short numbers is not what is sent whole, and alone nothing is sent.
    assert single["short"] == single["kd"]
    assert double["short"] != double["kd"]
