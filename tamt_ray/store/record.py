"""Records of finished units and notes of failed ones."""

from typing import Annotated

from pydantic import Field

from tamt_ray.plan.unit import Cell, Kind
from tamt_ray.values.base import Frozen

MASK, HISTORY = "mask.safetensors", "history.parquet"
"""Artifacts of a search, and of every unit that trains."""
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
ArtifactName = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})*$")]
"""A path inside the unit's folder; a forged record must not make the store read another file."""


class Artifact(Frozen):
    """A file of a unit, known by its content."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: int

    def file(self, name: str) -> str:
        """Return the file's own name: with its digest in it, so that two workers that compute one
        unit at once never write over what the other's record vouches for."""
        folder, slash, last = name.rpartition("/")
        stem, dot, suffix = last.partition(".")
        return f"{folder}{slash}{stem}.{self.sha256[:16]}{dot}{suffix}"


class Record(Frozen):
    """A finished unit. It exists only after all its artifacts do."""

    id: str
    kind: Kind
    config: dict[str, object]
    """Everything that decided the result, defaults dropped."""
    parents: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    """sha256 of each artifact that was read, by `<id of the parent>/<name>`."""
    metrics: dict[str, float] = {}
    """Final numbers: `mlm_loss` (nats a token), `kd_loss` (cosine distance), `best` and `last`
    (fractions of 1), `zeros`, `search_seconds`, …"""
    artifacts: dict[ArtifactName, Artifact] = {}
    sources: dict[str, str] = {}
    """Fingerprint of the content each source had when it was read."""
    started: float
    """Seconds since the epoch, by the clock of the host that ran it; shown, never compared."""
    seconds: float = Field(ge=0)
    """Wall time of the work itself."""
    device: str
    """`<workers> x <device>`, as in `4 x NVIDIA A100`; prices multiply by the number."""
    place: str
    """Host, process and GPUs."""
    usage: dict[str, float] = {}
    """Resources of the worker, or of the first of a gang: `cpu_seconds`; `memory_bytes`, the
    process's largest so far; `gpu_memory_bytes`, the largest that was allocated."""
    versions: dict[str, str] = {}
    bare: bool = False
    """Published without its artifacts, of which only the digests are left. Its numbers count; where
    another unit needs its files, it is computed again and must come out the same."""


class Failure(Frozen):
    """A unit that did not finish, and why."""

    id: str
    kind: Kind
    cell: Cell
    """Place in the sweep that tried it."""
    error: str
    """Class of the error."""
    message: str
    traceback: str
    attempts: int
    """Attempts in that run."""
    at: float
    """Seconds since the epoch, shown only."""
