"""The report of a sweep, written beside its results."""

from tamt_ray.analysis.report import build_report
from tamt_ray.cli.opened import Opened, open_sweep


def report_files(opened: Opened) -> dict[str, bytes]:
    """Every file of the report by relative name; always of the whole sweep."""
    if opened.part:
        opened = open_sweep(opened.file)
    return build_report(opened.sweep, opened.plan, opened.records, opened.failures)


def write_report(opened: Opened, files: dict[str, bytes] | None = None) -> str:
    """Write the report into the store; returns where its page is."""
    folder = f"reports/{opened.sweep.name}"
    for name, data in (files or report_files(opened)).items():
        opened.store.files.write(f"{folder}/{name}", data)
    return f"{opened.store.uri}/{folder}/report.html"
