"""Words, numbers and files about a whole sweep, and the result of writing it to MLflow."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Summary:
    """The content of the summary run, and the description of the experiment."""

    note: str
    """Markdown; its first line is the answer of the sweep."""
    metrics: Mapping[str, float]
    done: int
    """Units that are done: the step of the metrics."""
    at: float
    """Seconds since the epoch."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Keys are paths in the run."""
    tables: tuple[str, ...] = ()
    """Those of `files` that are tables in the form of MLflow's `log_table`."""
    over: bool = False
    """True once the sweep ran to its end."""

    @property
    def digests(self) -> dict[str, str]:
        """Return sha256 by path."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}


@dataclass(frozen=True, slots=True)
class SyncReport:
    """The difference that was found between store and MLflow, in runs."""

    written: int
    present: int
    refused: Mapping[str, str]
    """Reasons for which MLflow or the store refused a run, by key."""
    link: str = ""
    """The page that compares the methods."""

    def __str__(self) -> str:
        lines = [f"{self.written} runs written to MLflow, {self.present} were there"]
        return "\n".join(lines + [f"  {key[:12]}: {why}" for key, why in self.refused.items()])
