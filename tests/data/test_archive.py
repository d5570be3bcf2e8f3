"""Packages are found by digest, downloaded once, never trusted and never run."""

import contextlib
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tamt_ray.data import archive
from tamt_ray.data import table as data_table
from tamt_ray.data.archive import extract_directory, fetch_archive, read_member
from tamt_ray.data.cache import SourceError
from tamt_ray.data.table import at_hand
from tamt_ray.values.table import SourceRef, Table


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            file.addfile(info)
    return sink.getvalue()


def wheel(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            file.writestr(info, target)
    return sink.getvalue()


def place(cache: Path, filename: str, data: bytes, path: str) -> SourceRef:
    """A source whose archive is already in the cache."""
    digest = hashlib.sha256(data).hexdigest()
    folder = cache / "archives" / digest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / filename).write_bytes(data)
    return SourceRef("pypi", "demo", version="1.0", path=path, sha256=digest)


@dataclass
class Index:
    """A package index on this machine; `answers` are (status, body) by path, `asked` what came."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: int = 0
    """How many of the next requests get status 503."""
    cut: int = 0
    """How many of the next files break off half-way."""
    silent: bool = False
    """Whether it does not announce how long an answer is."""

    def offer(self, filename: str, data: bytes, path: str = "a.txt") -> SourceRef:
        digest = hashlib.sha256(data).hexdigest()
        link = f'<a href="/files/{filename}#sha256={digest}">{filename}</a>'
        page = f"<!DOCTYPE html><html><body>{link}</body></html>"
        self.answers["/simple/demo/"] = (200, page.encode())
        self.answers[f"/files/{filename}"] = (200, data)
        return SourceRef("pypi", "demo", version="1.0", path=path, sha256=digest)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    state = Index()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            status, body = state.answers.get(self.path, (404, b""))
            if state.failures:
                state.failures -= 1
                status, body = 503, b""
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            if not state.silent:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cut and self.path.startswith("/files/"):
                state.cut -= 1
                body = body[: len(body) // 2]
            with contextlib.suppress(ConnectionError):  # Too much, so nobody reads on.
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


WHEEL = "demo-1.0-py3-none-any.whl"


def test_an_archive_is_downloaded_once(index: Index) -> None:
    ref = index.offer(WHEEL, wheel({"demo/a.txt": b"hello"}), "demo/a.txt")
    assert read_member(ref) == b"hello"
    assert read_member(ref) == b"hello"
    assert index.asked == ["/simple/demo/", f"/files/{WHEEL}"]


def test_a_damaged_copy_in_the_cache_is_replaced(index: Index, cache: Path) -> None:
    data = wheel({"demo/a.txt": b"hello"})
    ref = index.offer(WHEEL, data, "demo/a.txt")
    fetch_archive(ref).write_bytes(data[:-7])
    assert read_member(ref) == b"hello"
    assert index.asked.count(f"/files/{WHEEL}") == 2


def test_half_a_download_of_another_process_is_never_read(index: Index, cache: Path) -> None:
    data = wheel({"demo/a.txt": b"hello"})
    ref = index.offer(WHEEL, data, "demo/a.txt")
    folder = cache / "archives" / ref.sha256
    folder.mkdir(parents=True)
    (folder / f".{WHEEL}.0123.tmp").write_bytes(data[:20])
    assert fetch_archive(ref).read_bytes() == data


def test_short_trouble_is_retried(index: Index) -> None:
    ref = index.offer(WHEEL, wheel({"demo/a.txt": b"hello" * 1000}), "demo/a.txt")
    index.failures, index.cut = 1, 1
    assert read_member(ref) == b"hello" * 1000


def test_long_trouble_ends_with_advice_and_nothing_in_the_cache(index: Index, cache: Path) -> None:
    ref = index.offer(WHEEL, wheel({"demo/a.txt": b"hello"}))
    index.failures = 100
    with pytest.raises(SourceError, match=r"demo==1\.0: 503.*3 tries.*PIP_INDEX_URL"):
        fetch_archive(ref)
    assert len(index.asked) == 3
    assert not list((cache / "archives" / ref.sha256).glob("[!.]*"))


def test_no_network_is_a_source_error() -> None:
    with pytest.raises(SourceError, match="PIP_INDEX_URL"):
        fetch_archive(SourceRef("pypi", "demo", version="1.0", path="a", sha256="0" * 64))


def test_other_content_than_the_digest_says_is_refused(index: Index, cache: Path) -> None:
    ref = index.offer(WHEEL, wheel({"demo/a.txt": b"hello"}), "demo/a.txt")
    index.answers[f"/files/{WHEEL}"] = (200, wheel({"demo/a.txt": b"other"}))
    with pytest.raises(SourceError, match=r"demo==1\.0: received"):
        fetch_archive(ref)
    assert not list((cache / "archives" / ref.sha256).glob("[!.]*"))


def test_a_digest_the_index_does_not_have_lists_those_it_has(index: Index) -> None:
    there = index.offer(WHEEL, wheel({"demo/a.txt": b"hello"})).sha256
    with pytest.raises(SourceError, match=there):
        fetch_archive(SourceRef("pypi", "demo", version="1.0", path="a", sha256="0" * 64))


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [("demo", "2.0", "no version 2.0"), ("absent", "1.0", "no project 'absent'")],
)
def test_what_the_index_lacks_is_named(index: Index, name: str, version: str, reason: str) -> None:
    index.offer(WHEEL, wheel({}))
    with pytest.raises(SourceError, match=reason):
        fetch_archive(SourceRef("pypi", name, version=version, path="a", sha256="0" * 64))


def test_credentials_of_the_index_are_not_shown(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    url = os.environ["PIP_INDEX_URL"].replace("http://", "http://user:secret@")
    monkeypatch.setenv("PIP_INDEX_URL", url)
    index.failures = 100
    with pytest.raises(SourceError) as caught:
        fetch_archive(SourceRef("pypi", "demo", version="1.0", path="a", sha256="0" * 64))
    assert "503" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_only_a_large_download_is_announced(
    index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_archive(index.offer(WHEEL, wheel({"a": b"small"})))
    assert capsys.readouterr().err == ""
    noise = hashlib.shake_256(b"seed").digest(3_000_000)
    fetch_archive(index.offer("demo-1.0.tar.gz", tar({"demo-1.0/a": noise})))
    assert capsys.readouterr().err == "downloading demo-1.0.tar.gz (3 MB)\n"


def test_a_path_in_an_sdist_leaves_out_its_top_directory(cache: Path) -> None:
    data = tar({"demo-1.0/data/a.txt": b"hello"})
    assert read_member(place(cache, "demo-1.0.tar.gz", data, "data/a.txt")) == b"hello"
    with pytest.raises(SourceError, match="its top level holds: data"):
        read_member(place(cache, "demo-1.0.tar.gz", data, "demo-1.0/data/a.txt"))


def test_a_path_leads_through_archives_in_archives(cache: Path) -> None:
    inner = tar({"deep/a.txt": b"hello"})
    middle = wheel({"in/inner.tar.gz": inner})
    data = tar({"demo-1.0/x/middle.zip": middle})
    path = "x/middle.zip/in/inner.tar.gz/deep"
    ref = place(cache, "demo-1.0.tar.gz", data, f"{path}/a.txt")
    assert read_member(ref) == b"hello"
    directory = extract_directory(place(cache, "demo-1.0.tar.gz", data, path))
    assert (directory / "a.txt").read_bytes() == b"hello"


def test_a_missing_member_names_what_is_there(cache: Path) -> None:
    ref = place(cache, WHEEL, wheel({"demo/a.txt": b"", "demo/b.txt": b""}), "demo/c.txt")
    with pytest.raises(SourceError, match=r"no 'demo/c\.txt'.*demo/ holds: a\.txt, b\.txt"):
        read_member(ref)


def test_an_extracted_directory_is_made_once_and_mended(cache: Path) -> None:
    files = {"demo/m/config.json": b"{}", "demo/m/sub/x": b"1", "demo/other": b"2"}
    ref = place(cache, WHEEL, wheel(files), "demo/m")
    path = extract_directory(ref)
    found = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert found == {"config.json": b"{}", "sub/x": b"1"}
    # Whole as it is, it needs the archive no more.
    fetch_archive(ref).unlink()
    assert extract_directory(ref) == path

    place(cache, WHEEL, wheel(files), "demo/m")
    (path / "sub" / "x").write_bytes(b"changed")
    assert (extract_directory(ref) / "sub" / "x").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["demo/m/../../../evil", "demo/m//evil", "demo/m/C:evil"])
def test_a_name_that_leads_out_is_refused(cache: Path, name: str, tmp_path: Path) -> None:
    ref = place(cache, WHEEL, wheel({"demo/m/good": b"", name: b"evil"}), "demo/m")
    with pytest.raises(SourceError, match="unsafe name"):
        extract_directory(ref)
    assert not [p for p in tmp_path.rglob("*") if "evil" in p.name or p.name == "good"]


@pytest.mark.parametrize("kind", ["demo-1.0.tar.gz", WHEEL])
def test_a_link_is_never_followed(cache: Path, kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    top = "demo-1.0/" if kind.endswith(".gz") else ""
    build = tar if kind.endswith(".gz") else wheel
    data = build({f"{top}m/good": b""}, {f"{top}m/link": str(secret)})
    with pytest.raises(SourceError, match="links are not followed"):
        read_member(place(cache, kind, data, "m/link"))
    with pytest.raises(SourceError, match="links are not followed"):
        extract_directory(place(cache, kind, data, "m"))


@pytest.mark.parametrize("kind", ["demo-1.0.tar.gz", WHEEL])
def test_a_truncated_archive_is_a_source_error(cache: Path, kind: str) -> None:
    noise = hashlib.shake_256(b"seed").digest(100_000)
    build = tar if kind.endswith(".gz") else wheel
    data = build({"demo-1.0/a": noise, "demo-1.0/b": noise})
    for path in ("a", "b", "demo-1.0/b"):
        with pytest.raises(SourceError, match="cannot be unpacked"):
            read_member(place(cache, kind, data[: len(data) // 2], path))


@pytest.mark.parametrize("silent", [False, True])
def test_no_more_is_downloaded_than_an_archive_may_have(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    index.silent = silent
    monkeypatch.setattr(archive, "LIMIT", 1_000_000)
    ref = index.offer(WHEEL, wheel({"a": hashlib.shake_256(b"seed").digest(3_000_000)}))
    with pytest.raises(SourceError, match=r"demo==1\.0: the index sends more"):
        fetch_archive(ref)
    assert index.asked.count(f"/files/{WHEEL}") == 1
    assert [*(cache / "archives").rglob(f"*{WHEEL}*")] == []


def test_a_large_archive_is_not_hashed_to_find_out_that_it_is_large(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(archive, "file_digest", lambda path: hashed.append(path) or "")
    ref = place(cache, WHEEL, wheel({"a.txt": b"hello\n"}), "a.txt")
    table = Table(source=f"pypi:demo==1.0/a.txt#sha256={ref.sha256}")
    monkeypatch.setattr(data_table, "_MODERATE", 10)
    assert not at_hand(table)
    assert hashed == []
    monkeypatch.setattr(data_table, "_MODERATE", 10_000)
    assert not at_hand(table)
    assert len(hashed) == 1


@pytest.mark.parametrize("kind", ["demo-1.0.tar.gz", WHEEL])
def test_a_bomb_is_refused_before_it_is_unpacked(
    cache: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LIMIT", 1_000_000)
    build = tar if kind.endswith(".gz") else wheel
    data = build({"demo-1.0/a": b"", "demo-1.0/bomb": bytes(2_000_000)})
    with pytest.raises(SourceError, match="unpacks to more than"):
        read_member(place(cache, kind, data, "a"))


def test_the_index_of_pip_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tamt_ray.data.index import index_url

    monkeypatch.delenv("PIP_INDEX_URL")
    configuration = tmp_path / "pip.conf"
    configuration.write_text("[global]\nindex-url = http://127.0.0.1:9/own/\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    assert index_url() == "http://127.0.0.1:9/own/"
