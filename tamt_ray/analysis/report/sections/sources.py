"""Section: sources and versions of software."""

from collections import defaultdict

from tamt_ray.analysis.report.blocks import (
    Fold,
    Paragraph,
    ReportTable,
    Section,
    TableCell,
    TableRow,
)
from tamt_ray.analysis.report.context import Context


def section(context: Context) -> Section:
    """Return every source with the fingerprint that its content had when it was read."""
    found: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, set[str]] = defaultdict(set)
    for record in context.data.records.values():
        for source, fingerprint in record.sources.items():
            found[source].add(fingerprint)
        for name, version in record.versions.items():
            versions[name].add(version)
    changed = [source for source, fingerprints in found.items() if len(fingerprints) > 1]
    rows: list[TableRow] = [
        [source, TableCell(", ".join(sorted(found[source])), warning="changed between units"
                      if source in changed else "")]
        for source in sorted(found)
    ]  # fmt: skip
    used = ", ".join(f"{name} {' and '.join(sorted(versions[name]))}" for name in sorted(versions))
    return Section(
        "Sources",
        [
            *([Paragraph(f"Software: {used}.")] if used else []),
            *([Paragraph(f"Changed between units: {', '.join(changed)}.", "warn")]
              if changed else []),
            *([Fold(f"{len(rows)} sources and their fingerprints",
                    [ReportTable(["source", "fingerprint"], rows, words=True)])] if rows else []),
        ],
    )  # fmt: skip
