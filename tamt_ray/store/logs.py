"""Logs of the workers, per unit and attempt, kept in the store."""

from tamt_ray.plan.unit import Kind
from tamt_ray.store.store import Store

LOG_BYTES = 256 * 1024
"""Bytes kept of one attempt's log, from its end."""


def log_path(kind: Kind, unit_id: str, attempt: int, rank: int) -> str:
    """Return the path of the log of one worker's attempt; attempts count from 1 in every run."""
    return f"logs/{kind}/{unit_id}/attempt-{attempt:02d}.rank-{rank}.txt"


def read_logs(store: Store, kind: Kind, unit_id: str) -> list[str]:
    """Return the logs of a unit, the earliest attempt first; their first lines say when and
    where."""
    texts = [
        store.files.read(path).decode(errors="replace")
        for path in sorted(store.files.sizes(f"logs/{kind}/{unit_id}"))
        if path.endswith(".txt")
    ]
    return sorted(texts, key=lambda text: text[:_STAMP])


_STAMP = len("# 2026-01-01 00:00:00 +0000")
