"""One file of a package index, by project, version and digest."""

import ast
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import requests
from packaging.version import InvalidVersion, Version
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    DigestMismatchError,
    DistributionPackage,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)
from pypi_simple.progress import NullProgressTracker

from tamt_ray.data.cache import SourceError, file_digest
from tamt_ray.values.address import masked
from tamt_ray.values.replacement import replacing
from tamt_ray.values.table import SourceRef

TRIES = 3
PAUSE = 1.0
"""Seconds before the second try, doubled before each further one."""
_TIMEOUT = (15.0, 120.0)
"""Seconds to connect, and between two pieces of the answer."""


class _Unavailable(Exception):
    """A failure that another try may cure."""


def download(ref: SourceRef, folder: Path, most: int) -> Path:
    """Return the path in `folder` of the archive that `ref` names, written whole or not at all.

    Raises SourceError where the index does not have it, cannot be reached in three tries, or
    sends other content than the digest says or more than `most` bytes.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return _download(ref, folder, most)
        except _Unavailable as error:
            if attempt == TRIES:
                raise SourceError(
                    f"{_shown(ref)}: {error} ({TRIES} tries); check the network and "
                    f"PIP_INDEX_URL, or put the archive into {folder} by hand"
                ) from error
            time.sleep(PAUSE * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def index_url() -> str:
    """Return the simple index that pip is configured for, or the default of the library."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    # `list` merges all of pip's files, where `get` reads the user's own only. A Python without pip
    # has no configuration of pip either: a non-zero code and no output.
    command = [sys.executable, "-m", "pip", "config", "list"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^global\.index-url=(.+)$", answer.stdout, re.MULTILINE)
    return str(ast.literal_eval(found[1])) if found else PYPI_SIMPLE_ENDPOINT


def _download(ref: SourceRef, folder: Path, most: int) -> Path:
    try:
        with PyPISimple(index_url()) as client:
            # REQUESTS_CA_BUNDLE needs no mention: requests reads it and prefers it.
            client.s.verify = os.environ.get("PIP_CERT") or True
            package = _choose(ref, client)
            target = folder / Path(package.filename).name
            with replacing(target) as temporary:
                client.download_package(
                    package,
                    temporary,
                    progress=lambda size: _Bounded(ref, package.filename, most, size),
                    timeout=_TIMEOUT,
                )
                if (digest := file_digest(temporary)) != ref.sha256:
                    raise _Unavailable(f"received content with sha256 {digest}")
            return target
    except NoSuchProjectError as error:
        raise SourceError(f"{_shown(ref)}: the index has no project {ref.name!r}") from error
    except DigestMismatchError as error:
        raise _Unavailable(
            f"received other content than asked for: {masked(str(error))}"
        ) from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 500
        if status >= 500 or status in {408, 429}:
            raise _Unavailable(masked(str(error))) from error
        raise SourceError(f"{_shown(ref)}: the index refuses: {masked(str(error))}") from error
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise _Unavailable(masked(str(error))) from error
    except (
        requests.RequestException,
        UnsupportedContentTypeError,
        UnsupportedRepoVersionError,
    ) as error:
        raise SourceError(
            f"{_shown(ref)}: the package index cannot be used: {masked(str(error))}; set "
            f"PIP_INDEX_URL to the https address of a simple index"
        ) from error


def _choose(ref: SourceRef, client: PyPISimple) -> DistributionPackage:
    packages = client.get_project_page(ref.name, timeout=_TIMEOUT).packages
    of_version = [p for p in packages if _same(p.version, ref.version)]
    for package in of_version:
        if package.digests.get("sha256") == ref.sha256:
            return package
    if not of_version:
        raise SourceError(f"{_shown(ref)}: the index has no version {ref.version} of {ref.name}")
    there = "".join(f"\n  {p.filename} sha256={p.digests.get('sha256')}" for p in of_version)
    raise SourceError(f"{_shown(ref)}: no file has sha256 {ref.sha256}; there are:{there}")


def _same(given: str | None, wanted: str) -> bool:
    try:
        return given is not None and Version(given) == Version(wanted)
    except InvalidVersion:
        return given == wanted


class _Bounded(NullProgressTracker):
    """Announces a large download; raises SourceError for more than `most` bytes, before the first
    one where the index announces so many."""

    def __init__(self, ref: SourceRef, filename: str, most: int, size: int | None) -> None:
        """`size`: bytes as the index announces them."""
        self._ref = ref
        self._left = most
        if size is not None and size > most:
            self.update(size)
        if size is not None and size > 1_000_000:
            sys.stderr.write(f"downloading {filename} ({size / 1e6:.0f} MB)\n")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def update(self, increment: int) -> None:
        """Count so many bytes more."""
        self._left -= increment
        if self._left < 0:
            raise SourceError(
                f"{_shown(self._ref)}: the index sends more than an archive may have; check the "
                "digest"
            )


def _shown(ref: SourceRef) -> str:
    return f"pypi:{ref.name}=={ref.version}"
