"""A local Ray is its user's alone: no other user of the machine reads its files or its token."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.exceptions import AuthenticationError
from ray.tune.execution import class_cache

from tamt_ray.data.cache import SourceError
from tamt_ray.data.hub import mirror
from tamt_ray.execution.cluster import connection
from tamt_ray.execution.cluster.address import unwritable
from tamt_ray.execution.cluster.connection import ClusterError, close_token
from tamt_ray.execution.fleet import fleet as tuned

SCRIPT = """
import json, os
from pathlib import Path
from tamt_ray.execution.cluster.address import listen_on_loopback
listen_on_loopback()
from tamt_ray.execution.cluster.connection import connected
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
    """Nobody else enters its folder, or reads the token, which was readable to all before; nothing
    of it is left in the end."""
    token = folder / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True, mode=0o755)
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o644)
    temporary = folder / "tmp"
    temporary.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False,
        env={**kept, "HOME": str(folder / "home"), "RAY_TMPDIR": str(temporary)},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    modes = json.loads(found.stdout)
    assert modes
    assert set(modes.values()) == {0o700}
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


class Loader:
    """Reads a token as Ray's loader does, and does not remember it: another test of this process
    may have a Ray with a token of its own."""

    @staticmethod
    def instance() -> "Loader":
        return Loader()

    def has_token(self, *, ignore_auth_mode: bool) -> bool:
        assert ignore_auth_mode
        token = Path.home() / ".ray" / "auth_token"
        return token.exists() and bool(token.read_text())

    def reset_cache(self) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_the_first_token_is_private_from_the_beginning(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_AUTH")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(connection, "AuthenticationTokenLoader", Loader)
    before = os.umask(umask)
    try:
        close_token()
    finally:
        os.umask(before)
    (token,) = (tmp_path / ".ray").iterdir()
    assert (token.name, token.stat().st_mode & 0o777) == ("auth_token", 0o600)
    assert token.parent.stat().st_mode & 0o777 == 0o700
    assert len(token.read_text()) == 64


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("RAY_AUTH")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(connection, "AuthenticationTokenLoader", Loader)
    return tmp_path


def read_only(*_: object) -> None:
    raise OSError(30, "Read-only file system")


def test_a_good_token_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only file system, and in a folder of another user that all may look into."""
    (home / ".ray").mkdir(0o700)
    (home / ".ray" / "auth_token").touch(0o600)
    close_token()
    (token,) = (home / ".ray").iterdir()
    text = token.read_text()
    assert len(text) == 64, "an empty file is no token"
    monkeypatch.setattr(Path, "chmod", read_only)
    close_token()
    mine = os.getuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: mine + 1)
        os.chmod(home / ".ray", 0o755)
        close_token()
    os.chmod(token, 0o644)
    with pytest.raises(OSError, match="Read-only"):
        close_token()
    assert token.read_text() == text


def test_nobody_needs_a_home_who_has_a_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    said = unwritable()
    assert said
    assert said.endswith("or RAY_AUTH_TOKEN_PATH to a file with a token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "token"))
    assert unwritable() is None
    close_token()
    assert [*home.iterdir()] == []


def test_no_token_for_a_given_ray_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own error is no RuntimeError, and was a traceback."""

    def init(**_: object) -> None:
        raise AuthenticationError("no token was found")

    monkeypatch.setattr(connection.ray, "init", init)
    with pytest.raises(ClusterError, match=r"no token was found.*; check .*RAY_AUTH_TOKEN_PATH"):
        connection._join("auto")


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
