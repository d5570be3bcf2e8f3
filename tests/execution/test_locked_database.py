"""MLflow's database locked by somebody else, or read-only, for the rest of a sweep."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
StartDriver = Any
"""The fixture's own class, of `conftest`."""


@contextmanager
def locked(database: sqlite3.Connection, _path: Path) -> Iterator[None]:
    database.execute("BEGIN EXCLUSIVE")
    yield
    database.execute("ROLLBACK")


@contextmanager
def read_only(_database: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Modes of files stop no root, but an unknown format does: byte 18 of the header. Connections
    read it again once the counter in bytes 24 to 27 has changed."""
    with path.open("r+b") as file:
        before = file.read(28)
        changed = int.from_bytes(before[24:], "big")
        for version, count in ((9, changed + 1), (before[18], changed + 2)):
            file.seek(0)
            header = bytes([*before[:18], version, *before[19:24], *count.to_bytes(4, "big")])
            file.write(header)
            file.flush()
            if version == 9:
                yield


@pytest.mark.parametrize(
    ("state", "words"),
    [(locked, "database is locked"), (read_only, "attempt to write a readonly database")],
)
def test_a_database_that_cannot_be_written_delays_only_mlflow(
    state: Callable[[sqlite3.Connection, Path], AbstractContextManager[None]], words: str,
    toy: Toy, start_driver: StartDriver, tmp_path: Path,
) -> None:  # fmt: skip
    """The sweep ends well and says what MLflow lacks and which command sends it, which it does."""
    toy["methods"] = ["omp"]
    driver = start_driver(toy)
    driver.wait_for(lambda: "done   " in driver.said)
    database = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    with state(database, tmp_path / "mlflow.db"):
        assert driver.end(200) == 0, driver.said
        assert words in driver.said
        assert "nothing is lost: `tamt sync-mlflow sweep.yaml` sends" in driver.said
    code = "from tamt_ray.cli.entry import main; main()"
    command = [sys.executable, "-c", code, "sync-mlflow", "sweep.yaml"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=200)
    query = "SELECT count(*) FROM runs WHERE status = 'FINISHED'"
    # Dense and OMP, a fine-tune of each, and the summary.
    assert database.execute(query).fetchone() == (5,)
    database.close()
