"""Words, numbers and files about a whole sweep."""

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
