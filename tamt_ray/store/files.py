"""Whole files only, on a disk or an S3 object store, and JSON that carries its own sha256."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from tamt_ray.values.address import instead_of_secret
from tamt_ray.values.replacement import make_directory, replacing, sync_directory

_ATTEMPTS = 10
"""Requests to an object store before an error counts; the pauses between them grow to seconds."""
_S3_OPTIONS = {"region", "scheme", "endpoint_override"}
_HEAD, _TAIL = b'{"sha256":"', b'",'


class Files:
    """Reads and writes whole files under one root; a reader never sees half a file.

    On a local disk a write is temporary file, fsync, rename; on an object store one PUT.
    """

    def __init__(self, uri: str) -> None:
        """`uri` is a directory or `s3://bucket/prefix`. Raises ValueError for other nonsense."""
        # The address is printed, logged and handed to every worker.
        if instead := instead_of_secret(uri):
            raise ValueError(f"it holds credentials; {instead}")
        if uri.startswith("s3://"):
            filesystem, root = _object_store(uri)
        elif uri.startswith("file://"):
            filesystem, root = fs.FileSystem.from_uri(uri)
        elif "://" in uri:
            # Arrow's other file systems were never tried; without a network some hang for minutes.
            raise ValueError("it is neither a directory nor s3://bucket/prefix")
        else:
            filesystem, root = fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
        self.uri = uri if "://" in uri else root
        self._root = root.rstrip("/")
        self._fs = filesystem
        self.local: Path | None = (
            Path(self._root) if isinstance(filesystem, fs.LocalFileSystem) else None
        )
        self.parallel = 8 if self.local else 32
        """Reads worth having under way at once: a disk is quick, an object store is far."""

    def address(self, name: str) -> str:
        """Return where a file is, to be printed; an object store's options stay at the end."""
        place, mark, options = self.uri.partition("?") if self.local is None else (self.uri, "", "")
        return f"{place.rstrip('/')}/{name}{mark}{options}"

    def _path(self, name: str) -> str:
        parts = name.split("/")
        if name.startswith("/") or any(part in {"", ".", ".."} for part in parts):
            raise ValueError(f"{name!r} is not a path inside the store")
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raises FileNotFoundError, and OSError for a pipe or a device,
        whose reading might never end."""
        path = self._path(name)
        if self.local:
            if not Path(path).is_file() and Path(path).exists():
                raise OSError(errno.EINVAL, "Not a regular file", path)
            return Path(path).read_bytes()
        with self._fs.open_input_file(path) as stream:
            return stream.read()

    def write(self, name: str, data: bytes, last_check: Callable[[], None] = lambda: None) -> None:
        """Replace a file atomically and durably; what `last_check` raises just before keeps it.

        Temporary files that killed processes left beside it are removed.
        """
        path = self._path(name)
        if self.local is None:
            last_check()
            with self._fs.open_output_stream(path, compression=None) as stream:
                stream.write(data)
            return
        with replacing(Path(path)) as temporary:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            last_check()

    def move(self, name: str, to: str) -> None:
        """Give a file that exists another name; on an object store a copy and a deletion."""
        source, target = self._path(name), self._path(to)
        if self.local is None:
            self._fs.move(source, target)
            return
        make_directory(Path(target).parent)
        Path(source).replace(target)
        for parent in {Path(source).parent, Path(target).parent}:
            sync_directory(parent)

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Return the bytes of a file; None where there is none."""
        info = self._fs.get_file_info(self._path(name))
        return info.size if info.type == fs.FileType.File else None

    def remove(self, name: str) -> None:
        """Delete a file that exists."""
        self._fs.delete_file(self._path(name))

    def sizes(self, name: str) -> dict[str, int]:
        """Return the bytes of every file below `name`, at any depth, by path; one bulk listing."""
        selector = fs.FileSelector(self._path(name), recursive=True, allow_not_found=True)
        prefix = len(self._root) + 1
        return {
            info.path[prefix:]: info.size
            for info in self._fs.get_file_info(selector)
            if info.type == fs.FileType.File
        }

    def names(self, name: str) -> list[str]:
        """Return the names of the files directly in a directory, sorted; none where there is no
        directory."""
        selector = fs.FileSelector(self._path(name), allow_not_found=True)
        found = self._fs.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == fs.FileType.File)


def _object_store(uri: str) -> tuple[fs.FileSystem, str]:
    """S3 or what speaks its protocol, with patience for errors that pass."""
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    if unknown := options.keys() - _S3_OPTIONS:
        raise ValueError(f"unknown option {sorted(unknown)[0]!r}; there are {sorted(_S3_OPTIONS)}")
    filesystem = fs.S3FileSystem(
        **options,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        # One request for a small file instead of three.
        allow_delayed_open=True,
    )
    return filesystem, parts.netloc + unquote(parts.path)


class BrokenSealError(ValueError):
    """Not sealed JSON, or not all of it, or not as it was written."""


def seal(body: bytes) -> bytes:
    """Return the JSON object `body`, which is not empty, with its own sha256 as first field."""
    assert body.startswith(b'{"')
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _TAIL + body[1:]


def unseal(data: bytes) -> bytes:
    """Return the body that was sealed. Raises BrokenSealError."""
    start = len(_HEAD)
    digest, rest = data[start : start + 64], data[start + 64 :]
    body = b"{" + rest[len(_TAIL) :]
    if (
        not data.startswith(_HEAD)
        or not rest.startswith(_TAIL)
        or hashlib.sha256(body).hexdigest().encode() != digest
    ):
        raise BrokenSealError("it is not what was written")
    return body
