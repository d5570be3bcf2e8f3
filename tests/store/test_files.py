"""Whole files only, inside one root, whatever file system is below."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from tamt_ray.store.files import Files


def by_path(root: Path) -> Files:
    return Files(str(root))


def by_uri(root: Path) -> Files:
    return Files(f"file://{root}")


def by_object_store(root: Path) -> Files:
    """The branch for file systems without rename, over a directory."""
    files = by_path(root)
    root.mkdir(exist_ok=True)
    files._fs = fs.SubTreeFileSystem("/", fs.LocalFileSystem())
    files._root = f"{root}".lstrip("/")
    files.local = None
    return files


OPENERS = pytest.mark.parametrize("opened", [by_path, by_uri, by_object_store])


@OPENERS
def test_what_is_written_is_read(opened, tmp_path: Path) -> None:  # noqa: ANN001
    files: Files = opened(tmp_path / "store")
    if files.local is None:
        for folder in ("a/b", "c/d"):
            (tmp_path / "store" / folder).mkdir(parents=True)
    data = bytes(range(256)) * 3
    files.write("a/b/x.bin", data)
    files.write("top", b"")
    assert files.read("a/b/x.bin") == data
    assert files.read("top") == b""
    files.write("a/b/x.bin", b"short")
    assert files.read("a/b/x.bin") == b"short"
    assert files.exists("a/b/x.bin")
    assert not files.exists("a/b")
    assert not files.exists("a/b/y.bin")
    assert files.size("a/b/x.bin") == 5
    assert files.size("a/b/y.bin") is None
    assert files.sizes("a") == {"a/b/x.bin": 5}
    assert files.sizes("nowhere") == {}
    files.move("a/b/x.bin", "c/d/z.bin")
    assert (files.exists("a/b/x.bin"), files.read("c/d/z.bin")) == (False, b"short")
    files.move("c/d/z.bin", "a/b/x.bin")
    files.remove("a/b/x.bin")
    assert not files.exists("a/b/x.bin")
    with pytest.raises(FileNotFoundError):
        files.read("a/b/x.bin")


@pytest.mark.parametrize("opened", [by_path, by_uri])
def test_looking_creates_nothing(opened, tmp_path: Path) -> None:  # noqa: ANN001
    files: Files = opened(tmp_path / "store")
    assert not files.exists("x")
    assert files.sizes("units") == {}
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_is_meant_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = Files("results")
    files.write("x", b"1")
    assert files.uri == str(tmp_path / "results")
    assert files.address("a?/x") == str(tmp_path / "results/a?/x")
    monkeypatch.chdir("/")
    assert files.read("x") == b"1"


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "a/../x", "a/../../x", "a//b", "./x", "a/.", "a/", "", ".", ".."],
)
@pytest.mark.parametrize("verb", ["read", "write", "exists", "remove", "sizes", "names", "move"])
def test_nothing_outside_the_root_is_touched(name: str, verb: str, tmp_path: Path) -> None:
    files = Files(str(tmp_path / "store"))
    more = {"write": (b"x",), "move": ("x",)}.get(verb, ())
    with pytest.raises(ValueError, match="not a path inside the store"):
        getattr(files, verb)(name, *more)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "", "a", "b c", "…"]), min_size=1, max_size=5))
def test_no_combination_of_dots_leaves_the_root(parts: list[str]) -> None:
    files = Files("/somewhere/store")
    try:
        path = files._path("/".join(parts))
    except ValueError:
        assert {"..", ".", ""} & set(parts)
    else:
        assert os.path.normpath(path) == path
        assert path.startswith("/somewhere/store/")


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(str(tmp_path))
    files.write("x", b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            files.write("x", b"new and longer")
    assert files.read("x") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_rename_comes_after_the_data_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync sees the whole temporary file while the name still stands for the old one."""
    files = Files(str(tmp_path))
    files.write("x", b"old")
    seen: list[tuple[bytes, list[bytes]]] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        others = [path.read_bytes() for path in tmp_path.iterdir() if path.name != "x"]
        seen.append((files.read("x"), others))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    files.write("x", b"new")
    assert seen == [(b"old", [b"new"]), (b"new", [])], "file first, then its directory"


def test_a_torn_temporary_file_is_never_found(tmp_path: Path) -> None:
    """A process killed in the middle of a write leaves one behind."""
    files = Files(str(tmp_path))
    files.write("units/a/record.json", b"whole")
    (tmp_path / "units" / "a" / ".record.json.0123.tmp").write_bytes(b"who")
    (tmp_path / "units" / "b").mkdir()
    (tmp_path / "units" / "b" / ".record.json.4567.tmp").write_bytes(b"w")
    assert "units/b/record.json" not in files.sizes("units")
    assert not files.exists("units/b/record.json")


WRITER = """
import os, sys
from tamt_ray.store.files import Files
os.fsync = lambda descriptor: os.kill(os.getpid(), int(sys.argv[2]))
Files(sys.argv[1]).write("units/a/mask", b"half")
"""


def test_what_killed_writers_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    """At once where the writer ran on this machine, after an hour otherwise; what a live one is
    about to finish stays, however old it is, and so do other programs' files."""
    folder = tmp_path / "units" / "a"
    folder.mkdir(parents=True)
    files = Files(str(tmp_path))
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    stopped = subprocess.Popen([*command, f"{signal.SIGSTOP:d}"], env=environment)
    try:
        while not [path for path in folder.iterdir() if path.stat().st_size]:
            assert stopped.poll() is None
            time.sleep(0.01)
        (live,) = folder.iterdir()
        subprocess.run([*command, f"{signal.SIGKILL:d}"], check=False, env=environment)
        assert len([*folder.iterdir()]) == 2
        elsewhere = folder / ".mask.0badcafe-1-1-00000000.tmp"
        foreign = folder / ".mask.0badcafe-2-1-00000000.tmp"
        others = folder / ".bash_history-1234.tmp"
        for path in (elsewhere, foreign, others):
            path.write_bytes(b"half")
        for path in (live, foreign, others):
            os.utime(path, (0, time.time() - 4000))
        files.write("units/a/record.json", b"whole")
        assert {*folder.iterdir()} == {live, elsewhere, others, folder / "record.json"}
    finally:
        stopped.kill()
        stopped.wait()
    files.write("units/a/record.json", b"whole")
    assert {*folder.iterdir()} == {elsewhere, others, folder / "record.json"}


@pytest.mark.parametrize("uri", ["nonsense://x", "gs://bucket/x", "file://relative/path"])
def test_other_nonsense(uri: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Files(uri)
