"""A local Ray is its user's alone: no other user of the machine reads its files."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.tune.execution import class_cache

from tamt_ray.data.cache import SourceError
from tamt_ray.data.mirror import mirror
from tamt_ray.execution import tuned

SCRIPT = """
import json, os
from pathlib import Path
from tamt_ray.execution.loopback import listen_on_loopback
listen_on_loopback()
from tamt_ray.execution.cluster import connected
os.umask(0o022)
with connected(None):
    below = {p.name: p.stat().st_mode & 0o777 for p in Path(os.environ["RAY_TMPDIR"]).iterdir()}
print(json.dumps(below))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path, as Ray's sockets need it."""
    path = Path(tempfile.mkdtemp(prefix="t-"))
    yield path
    shutil.rmtree(path)


def test_a_local_ray_is_private(folder: Path) -> None:
    """Nobody else enters its folder, and nothing of it is left in the end."""
    temporary = folder / "tmp"
    temporary.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False,
        env={**kept, "RAY_TMPDIR": str(temporary)},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    modes = json.loads(found.stdout)
    assert modes
    assert set(modes.values()) == {0o700}
    assert list(temporary.iterdir()) == []


def test_tune_copies_no_credentials_into_runtime_envs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray writes those into a log."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")

    class Nothing:
        def fit(self) -> None:
            actor = class_cache._ActorClassCache().get(type("Worker", (), {}))
            variables = actor._default_options["runtime_env"]["env_vars"]
            assert variables["RAY_CHDIR_TO_TRIAL_DIR"] == "0"
            assert "hush" not in variables.values()

    tuned.fit(Nothing())


def test_a_mirror_with_credentials_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address travels in a runtime_env and stands in messages."""
    monkeypatch.setenv("TAMT_MIRROR", "s3://me:hush@bucket/hub")
    with pytest.raises(SourceError, match="TAMT_MIRROR: it holds credentials") as caught:
        mirror()
    assert "AWS_SECRET_ACCESS_KEY" in str(caught.value)
    assert "hush" not in str(caught.value)
