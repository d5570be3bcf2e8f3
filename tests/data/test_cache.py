"""What is published is whole or absent; the cache lies where the environment says."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tamt_ray.data.cache import (
    SourceError,
    cache_dir,
    file_digest,
    local_path,
    locked,
    text_digest,
)
from tamt_ray.values.replacement import replacing


def test_the_cache_lies_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMT_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("TAMT_CACHE")
    assert cache_dir() == tmp_path / "shared" / "tamt_ray"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "tamt_ray"


def test_paths_are_those_of_where_the_command_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the driver its own directory, in a worker the driver's, whatever directory Ray gave it."""
    monkeypatch.chdir(tmp_path)
    assert local_path("a/b.csv") == tmp_path / "a" / "b.csv"
    monkeypatch.setenv("TAMT_TYPED_IN", "/home/typed")
    monkeypatch.setenv("TAMT_CACHE", "cache")
    assert local_path("a/b.csv") == Path("/home/typed/a/b.csv")
    assert local_path("/a/b.csv") == Path("/a/b.csv")
    assert local_path("~/b.csv") == Path.home() / "b.csv"
    assert cache_dir() == Path("/home/typed/cache")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("ne")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_published_directory_replaces_the_older_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    for name in ("old", "new"):
        with replacing(target) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert os.listdir(target) == ["new"]


def test_what_killed_writers_left_goes_with_the_next_write(tmp_path: Path) -> None:
    """Folders too, as an extraction that was broken off leaves them."""
    killed = f"""
import os
from pathlib import Path
from tamt_ray.values.replacement import replacing
with replacing(Path({str(tmp_path)!r}, "a")) as temporary:
    temporary.mkdir()
    (temporary / "file").touch()
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", killed], check=False)
    assert len(os.listdir(tmp_path)) == 1
    with replacing(tmp_path / "b") as temporary:
        temporary.touch()
    assert os.listdir(tmp_path) == ["b"]


def test_one_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        with locked(tmp_path / "thing"):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(64)))
    assert most == [1] * 64


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="TAMT_CACHE"), locked(tmp_path / "file" / "x"):
        pass


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # The digest of "abc" published in FIPS 180-2.
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abcd")
    assert not file_digest(path).startswith("ba7816bf")


def test_digests_of_parts_do_not_run_together() -> None:
    assert text_digest("a", "bc") != text_digest("ab", "c")
