"""The small sweep as a file, a plan and a store."""

from pathlib import Path

import pytest

from tamt_ray.plan.expand import Plan, expand
from tamt_ray.spec.load import load_sweep
from tamt_ray.store.store import Store

from .small import SWEEP


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP.format(store=tmp_path / "results"))
    return path


@pytest.fixture
def plan(file: Path) -> Plan:
    return expand(load_sweep(file))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "results"))
