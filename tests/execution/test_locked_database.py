"""MLflow's database locked by somebody else for the rest of a sweep."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
StartDriver = Any
"""The fixture's own class, of `conftest`."""


def test_a_locked_database_delays_only_mlflow(
    toy: Toy, start_driver: StartDriver, tmp_path: Path
) -> None:
    """The sweep ends well and says what MLflow lacks and which command sends it, which it does."""
    toy["methods"] = ["omp"]
    driver = start_driver(toy)
    driver.wait_for(lambda: "done   " in driver.said)
    database = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    assert driver.end(200) == 0, driver.said
    assert "database is locked" in driver.said
    assert "nothing is lost: `tamt sync-mlflow sweep.yaml` sends" in driver.said
    database.execute("ROLLBACK")
    code = "from tamt_ray.cli.entry import main; main()"
    command = [sys.executable, "-c", code, "sync-mlflow", "sweep.yaml"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=200)
    query = "SELECT count(*) FROM runs WHERE status = 'FINISHED'"
    # Dense and OMP, a fine-tune of each, and the summary.
    assert database.execute(query).fetchone() == (5,)
    database.close()
