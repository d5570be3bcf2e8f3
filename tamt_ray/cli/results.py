"""The report of a sweep, written beside its results."""

import io
from contextlib import suppress
from pathlib import Path

import polars as pl

from tamt_ray.analysis.artifacts import ArtifactReader
from tamt_ray.analysis.claims.published import PublishedError, read_published
from tamt_ray.analysis.report.page import DISTANCES, build_report
from tamt_ray.analysis.tuning import snippet, trials_frame
from tamt_ray.cli.report_mark import OF, report_folder, report_of
from tamt_ray.cli.speech import UsageError
from tamt_ray.cli.sweep_context import SETTLED, SweepContext
from tamt_ray.masks.bits import Bits
from tamt_ray.masks.file import bits_from_bytes
from tamt_ray.store.record import HISTORY, MASK
from tamt_ray.store.store import Store
from tamt_ray.values.commit import commit


def report_files(opened: SweepContext, published: pl.DataFrame | None = None) -> dict[str, bytes]:
    """Return every file of the report by relative name; always of the whole sweep."""
    opened = opened.whole
    files = build_report(
        opened.grid, opened.plan, opened.records, opened.failures, artifact_reader(opened),
        published, commit(),
    )  # fmt: skip
    if opened.survey:
        files["trials.csv"] = trials_frame(opened.survey.outcomes).write_csv().encode()
        files["best.yaml"] = snippet(opened.survey.outcomes).encode()
    return files


def write_report(
    opened: SweepContext,
    files: dict[str, bytes] | None = None,
    published: pl.DataFrame | None = None,
) -> str:
    """Write the report into the store, the page after what it shows; returns where the page is.

    It counts as half a report until `mark_report`.
    """
    folder = report_folder(opened)
    files = files or report_files(opened, published)
    # The mark of an earlier report may be that of a later one too: a sweep edited and edited back.
    opened.store.write(f"{folder}/{OF}", b"being written\n")
    for name in sorted(files, key="report.html".__eq__):
        opened.store.write(f"{folder}/{name}", files[name])
    return opened.store.files.address(f"{folder}/report.html")


def mark_report(opened: SweepContext) -> None:
    """Say in the store which results its report is of."""
    opened.store.write(f"{report_folder(opened)}/{OF}", report_of(opened).encode())


def publish_records(opened: SweepContext, to: Path) -> int:
    """Write the records without masks and curves, and the distances of the masks that the last
    report found and what rows decided, into a store; return the number of records.

    Raises StoreError."""
    target = Store(str(to))
    opened.store.publish(opened.records.values(), target)
    distances = f"{report_folder(opened)}/{DISTANCES}"
    for name in (distances, f"{report_folder(opened)}/{SETTLED}"):
        with suppress(FileNotFoundError):
            target.write(name, opened.store.files.read(name))
    return len(opened.records)


def load_published(path: Path) -> pl.DataFrame:
    """Return the paper's own values in a CSV file. Raises UsageError."""
    try:
        return read_published(path.read_text(encoding="utf-8"), str(path))
    except PublishedError as error:
        raise UsageError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def artifact_reader(opened: SweepContext) -> ArtifactReader:
    """Return how to read masks and curves of the sweep."""
    store, records = opened.store, opened.records

    def bits(unit_id: str) -> Bits:
        return bits_from_bytes(store.artifact(records[unit_id], MASK))

    def history(unit_id: str) -> pl.DataFrame | None:
        record = records[unit_id]
        if HISTORY not in record.artifacts or record.bare:
            return None
        data = store.artifact(record, HISTORY)
        return pl.read_parquet(io.BytesIO(data), columns=["step", "name", "value"])

    return ArtifactReader(bits, history, _known_distances(opened))


def _known_distances(opened: SweepContext) -> pl.DataFrame | None:
    """Return the distances of an earlier report, which save reading the masks."""
    try:
        data = opened.store.files.read(f"{report_folder(opened)}/{DISTANCES}")
        return pl.read_parquet(io.BytesIO(data))
    except (FileNotFoundError, pl.exceptions.PolarsError):
        # None yet, or a damaged one: all pairs are compared again.
        return None
