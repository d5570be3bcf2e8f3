"""Section: sources and versions of software."""

from collections import defaultdict
from collections.abc import Iterator

from tamt_ray.analysis.report.blocks import Block, Fold, Paragraph, ReportTable, TableCell
from tamt_ray.analysis.report.context import Context


def section(context: Context) -> Iterator[Block]:
    """Yield every source with the fingerprint that its content had when it was read."""
    found: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, set[str]] = defaultdict(set)
    for record in context.data.records.values():
        for source, fingerprint in record.sources.items():
            found[source].add(fingerprint)
        for name, version in record.versions.items():
            versions[name].add(version)
    if versions:
        used = (f"{name} {' and '.join(sorted(versions[name]))}" for name in sorted(versions))
        yield Paragraph(f"Software: {', '.join(used)}.")
    changed = [source for source, fingerprints in found.items() if len(fingerprints) > 1]
    if changed:
        yield Paragraph(f"Changed between units: {', '.join(changed)}.", "warn")
    rows = [
        [source, TableCell(", ".join(sorted(found[source])), warning=warning)]
        for source in sorted(found)
        for warning in ["changed between units" if source in changed else ""]
    ]
    if rows:
        table = ReportTable(["source", "fingerprint"], rows, words=True)
        yield Fold(f"{len(rows)} sources and their fingerprints", [table])
