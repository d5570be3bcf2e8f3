"""The report of a node to the doctor."""

import hashlib
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import torch

from tamt_ray.data.archive import read_file
from tamt_ray.data.cache import SourceError, cache_dir
from tamt_ray.data.checkpoint import load_checkpoint
from tamt_ray.data.hub import glimpse
from tamt_ray.data.table import name_of
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.plan.expand import expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.files import Files
from tamt_ray.store.space import bytes_free
from tamt_ray.values.plugin import OURS, code_of, plugin_packages
from tamt_ray.values.version import __version__

_LIBRARIES = ("ray", "torch", "transformers")


@dataclass(frozen=True)
class Probe:
    """A file that the driver left in the store, to be found by every node."""

    store: str
    name: str
    content: bytes


@dataclass(frozen=True)
class NodeReport:
    """Findings on one node, or in the driver itself."""

    versions: Mapping[str, str]
    free: Mapping[str, int]
    """Bytes free, by directory."""
    store: str | None = None
    """Reason for which the store cannot be used; None where it can, or was not checked."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Digests by source."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Reasons by source."""


def check_node(
    who: str, probe: Probe | None, sweep: Sweep | None, inherited: Inherited | None = None
) -> NodeReport:
    """Return everything but GPUs. `who` becomes part of a file name; sources are read where there
    is a `sweep`, on another node with `inherited`."""
    if inherited:
        inherited.take()
    sources, unreadable = _sources(sweep) if sweep else ({}, {})
    free = {str(place): bytes_free(place) for place in (cache_dir(), Path(tempfile.gettempdir()))}
    trouble = _trouble(probe, who) if probe else None
    return NodeReport(versions(), free, trouble, sources, unreadable)


def versions() -> dict[str, str]:
    """Return the versions that decide whether two processes understand each other. tamt-ray and
    plug-ins have a digest of their code too: a checkout changes and keeps its number."""
    found = {name: metadata.version(name) for name in _LIBRARIES}
    plugins = {
        package.name: f"{package.version}+{_code(top)}"
        for top, package in plugin_packages().items()
    }
    return {
        "python": platform.python_version(),
        **found,
        "tamt-ray": f"{__version__}+{_code(OURS)}",
        **plugins,
    }


def devices() -> list[str]:
    """Return the GPUs that torch sees in this process, by name; none where it cannot use them."""
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def _code(top: str) -> str:
    digest = hashlib.sha256()
    for name, path in code_of(top).items():
        if path.suffix == ".py":
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def _trouble(probe: Probe, who: str) -> str | None:
    """Write, list, read back and delete a file of this node's own, and find the driver's."""
    own = f"doctor/{Path(probe.name).stem}-{who}"
    try:
        files = Files(probe.store)
        try:
            found = files.read(probe.name)
        except FileNotFoundError:
            return "the driver's file is not in it: this node has a directory of its own there"
        if found != probe.content:
            return "the driver's file has another content here"
        files.write(own, probe.content)
        if Path(own).name not in files.names("doctor"):
            return "a file just written is not listed"
        if files.read(own) != probe.content:
            return "a file just written reads differently"
        files.remove(own)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _sources(sweep: Sweep) -> tuple[dict[str, str], dict[str, str]]:
    found: dict[str, str] = {}
    failed: dict[str, str] = {}
    for file in dict.fromkeys(file for _, search in expand(sweep).files for file in search.files):
        try:
            found[file] = hashlib.sha256(read_file(file)).hexdigest()[:12]
        except SourceError as error:
            failed[file] = str(error)
    for source in dict.fromkeys(model.source for model in sweep.models.values()):
        try:
            found[source] = load_checkpoint(source).fingerprint[:12]
        except (SourceError, OSError) as error:
            failed[source] = str(error)
    tasks = [table for task in sweep.tasks.values() for table in (task.train, *task.validation)]
    tables = (sweep.corpus.train, sweep.corpus.validation, *tasks)
    for name, table in {name_of(table): table for table in tables}.items():
        try:
            found[name] = glimpse(table)
        except SourceError as error:
            failed[name] = str(error)
    return found, failed
