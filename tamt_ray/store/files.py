"""Whole files only, on any `pyarrow.fs` file system."""

import os
import uuid
from pathlib import Path

from pyarrow import fs


class Files:
    """Reads and writes whole files under one root; a reader never sees half a file.

    On a local disk a write is temporary file, fsync, rename; on an object store one PUT.
    """

    def __init__(self, uri: str) -> None:
        """`uri` is a directory or `s3://bucket/prefix`. Raises ValueError for other nonsense."""
        if "://" in uri:
            filesystem, root = fs.FileSystem.from_uri(uri)
        else:
            filesystem, root = fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
        self.uri = uri if "://" in uri else root
        self._root = root.rstrip("/")
        self._fs = filesystem
        self.local: Path | None = (
            Path(self._root) if isinstance(filesystem, fs.LocalFileSystem) else None
        )

    def _path(self, name: str) -> str:
        parts = name.split("/")
        if name.startswith("/") or any(part in {"", ".", ".."} for part in parts):
            raise ValueError(f"{name!r} is not a path inside the store")
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""
        with self._fs.open_input_file(self._path(name)) as stream:
            return stream.read()

    def write(self, name: str, data: bytes) -> None:
        """Replace a file atomically and durably."""
        path = self._path(name)
        if self.local is None:
            with self._fs.open_output_stream(path) as stream:
                stream.write(data)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            # Interrupts too must not leave litter; the error goes on its way.
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(target.parent)

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return self._fs.get_file_info(self._path(name)).type == fs.FileType.File

    def remove(self, name: str) -> None:
        """Delete a file that exists."""
        self._fs.delete_file(self._path(name))

    def list(self, name: str, filename: str) -> list[str]:
        """Paths below `name`, at any depth, whose last part is `filename`; one bulk listing."""
        selector = fs.FileSelector(self._path(name), recursive=True, allow_not_found=True)
        prefix = len(self._root) + 1
        return sorted(
            info.path[prefix:]
            for info in self._fs.get_file_info(selector)
            if info.type == fs.FileType.File and info.base_name == filename
        )


def _sync_directory(path: Path) -> None:
    """Make a rename durable; only POSIX needs and allows it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
