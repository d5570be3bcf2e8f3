"""The records of a sweep without masks and curves, small enough for a repository."""

from contextlib import suppress
from pathlib import Path

from tamt_ray.analysis.report.page import DISTANCES
from tamt_ray.cli.opened import SweepContext
from tamt_ray.cli.report_mark import report_folder
from tamt_ray.store.store import Store


def publish(opened: SweepContext, to: Path) -> int:
    """Write the records, and the distances of the masks that the last report found, into a store;
    return the number of records. Raises StoreError."""
    target = Store(str(to))
    opened.store.publish(opened.records.values(), target)
    distances = f"{report_folder(opened)}/{DISTANCES}"
    with suppress(FileNotFoundError):
        target.write(distances, opened.store.files.read(distances))
    return len(opened.records)
