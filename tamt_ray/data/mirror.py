"""A directory or object store that stands in for the hub: `$TAMT_MIRROR`."""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pyarrow import ArrowInvalid, fs

from tamt_ray.data.cache import SourceError, cache_dir, local_path, locked, published, text_digest
from tamt_ray.values.address import instead_of_secret


@dataclass(frozen=True)
class Mirror:
    """Files laid out as `datasets/<repo>/<config>/<split>.parquet` and `models/<repo>/<file>`."""

    uri: str

    def children(self, folder: str, kind: fs.FileType) -> list[str]:
        """Sorted names of the files or directories right inside `folder`; none where it is not.

        Raises SourceError where the mirror cannot be reached.
        """
        filesystem, root = self._open()
        try:
            infos = filesystem.get_file_info(
                fs.FileSelector(f"{root}/{folder}", allow_not_found=True)
            )
        except OSError as error:
            raise self._unreachable(error) from error
        return sorted(info.base_name for info in infos if info.type == kind)

    def fetch(self, folder: str, names: list[str]) -> Path:
        """A local directory with those files of `folder`.

        A mirror on a local disk is used in place; another is copied into the cache, again only
        where a size or a modification time has changed. Raises SourceError.
        """
        filesystem, root = self._open()
        if isinstance(filesystem, fs.LocalFileSystem):
            return Path(root, folder)
        paths = [f"{root}/{folder}/{name}" for name in names]
        try:
            infos = filesystem.get_file_info(paths)
            stamps = [f"{i.path} {i.size} {i.mtime_ns}" for i in infos]
            target = cache_dir() / "mirror" / text_digest(self.uri, *stamps)
            with locked(target):
                if not target.is_dir():
                    with published(target) as temporary:
                        temporary.mkdir()
                        for name, path in zip(names, paths, strict=True):
                            with (
                                filesystem.open_input_stream(path) as source,
                                (temporary / name).open("xb") as out,
                            ):
                                shutil.copyfileobj(source, out, 1 << 20)
        except OSError as error:
            raise self._unreachable(error) from error
        return target

    def _open(self) -> tuple[fs.FileSystem, str]:
        if "://" not in self.uri:
            return fs.LocalFileSystem(), str(local_path(self.uri))
        try:
            filesystem, root = fs.FileSystem.from_uri(self.uri)
        except (ArrowInvalid, OSError) as error:
            raise self._unreachable(error) from error
        return filesystem, root.rstrip("/")

    def _unreachable(self, error: Exception) -> SourceError:
        return SourceError(
            f"the mirror {self.uri} cannot be read: {error}; correct TAMT_MIRROR or unset it"
        )


def mirror() -> Mirror | None:
    """The mirror that `$TAMT_MIRROR` names, if it is set. Raises SourceError for credentials."""
    uri = os.environ.get("TAMT_MIRROR")
    if uri and (instead := instead_of_secret(uri)):
        raise SourceError(f"TAMT_MIRROR: it holds credentials, and it is logged; {instead}")
    return Mirror(uri) if uri else None


def why_not(error: Exception) -> str:
    """Return the first line of an error of the hub, and whether the user has it switched off."""
    off = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return f"{' (HF_HUB_OFFLINE is set)' if off else ''}: {line}"


def repository(name: str) -> str:
    """The name of a hub repository. Raises SourceError where it would lead out of the mirror."""
    if any(part in {"", ".", ".."} for part in name.split("/")):
        raise SourceError(f"hf:{name}: not the name of a repository")
    return name
