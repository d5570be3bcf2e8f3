"""Mark of the results that the report in the store shows; imports no drawing module."""

from tamt_ray.cli.sweep_context import SweepContext
from tamt_ray.values.identity import identity
from tamt_ray.values.version import __version__

OF = "of.txt"
"""The file that says so: written last, so that half a report or an old one is known as such."""


def report_folder(opened: SweepContext) -> str:
    """Return the report's folder in the store."""
    return f"reports/{opened.sweep.name}"


def is_current(opened: SweepContext) -> bool:
    """Return whether the report in the store is complete and shows the present results."""
    try:
        found = opened.store.files.read(f"{report_folder(opened)}/{OF}")
    except FileNotFoundError:
        return False
    return found.decode(errors="replace") == report_of(opened)


def report_of(opened: SweepContext) -> str:
    """Return a digest of all that the report of the whole sweep is made from."""
    opened = opened.whole
    how = {"execution", "store", "mlflow"}
    return identity(
        {
            "version": __version__,
            "sweep": opened.sweep.model_dump(mode="json", exclude=how),
            "records": {record.id: record.started for record in opened.records.values()},
            "failures": sorted(opened.failures),
        }
    )
