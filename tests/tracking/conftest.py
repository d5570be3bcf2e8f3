"""The small sweep of the tracker, and a MLflow database that is ready for it."""

import shutil
from pathlib import Path

import pytest

from tamt_ray.tracking import tracker as tracker_module
from tamt_ray.tracking.reach import prepare_mlflow

from .tracker_cases import Case, client, content, make_case


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once, copied for each test: the migrations take seconds."""
    path = tmp_path_factory.mktemp("empty")
    case = make_case(path, f"sqlite:///{path}/mlflow.db")
    prepare_mlflow()
    client(case.sweep.mlflow).search_experiments()
    return path / "mlflow.db"


@pytest.fixture
def case(tmp_path: Path, empty_database: Path) -> Case:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return make_case(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> dict[str, object]:
    """What MLflow holds when nothing goes wrong."""
    path = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(empty_database, path / "mlflow.db")
    case = make_case(path, f"sqlite:///{path}/mlflow.db")
    tracker = case.tracker()
    tracker.start(case.records)
    assert tracker.close(60) == 0
    return content(case.sweep)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as after a few seconds of trouble, without the seconds."""
    monkeypatch.setattr(tracker_module, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(tracker_module, "_LONGEST_PAUSE", 0.2)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at what is new without a pause."""
    monkeypatch.setattr(tracker_module, "_BREATH", 0.01)
