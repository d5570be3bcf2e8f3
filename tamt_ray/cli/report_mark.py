"""Which results the report in the store is of; without what draws one, which is slow to import."""

from tamt_ray import __version__
from tamt_ray.cli.opened import SweepContext
from tamt_ray.values.identity import identity

OF = "of.txt"
"""The file that says so: written last, so that half a report or an old one is known as such."""


def report_folder(opened: SweepContext) -> str:
    """Where in the store the report lies."""
    return f"reports/{opened.sweep.name}"


def is_current(opened: SweepContext) -> bool:
    """Whether the report in the store is whole, and of the results as they are."""
    try:
        found = opened.store.files.read(f"{report_folder(opened)}/{OF}")
    except FileNotFoundError:
        return False
    return found.decode(errors="replace") == report_of(opened)


def report_of(opened: SweepContext) -> str:
    """A digest of all that the report of the whole sweep is made from."""
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
