"""The driver killed at random moments: nothing done is done again, and the tables are the same."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from tamt_ray.chaos import chaos, processes

pytestmark = pytest.mark.faults

Toy = dict[str, Any]


def test_kills_of_the_driver(toy: Toy, tmp_path: Path) -> None:
    """Three of them; `python -m tamt_ray.chaos FILE --rounds 20 --kind driver` does as many as one
    likes."""
    toy["methods"] = ["omp", {"method": "tamt_mlm", "steps": 6}]
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(toy))
    result = chaos(file, tmp_path, 3, random.Random(0), (3, 20), ("driver",))
    assert result.kills == {"driver": 3}
    assert result.units % 8 == 0
    assert result.recommitted == 0, result
    assert result.same, result


def test_processes_are_found_parents_first() -> None:
    found = [process.pid for process in processes(os.getppid())]
    assert found[0] == os.getppid()
    assert os.getpid() in found
    assert processes(os.getpid())[0].pid == os.getpid()
