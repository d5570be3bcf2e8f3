"""Classes that rows have, where a sweep leaves them to its data."""

from tamt_ray.data.table import Rows, column

_MOST = 1000
"""Classes that are counted at most; more of them are rather numbers."""


def counted_classes(rows: Rows, label: str) -> int | list[str] | None:
    """Return the number of classes, if the labels are 0, 1, … without a gap; or three and more
    names in the order of the alphabet. Of two names F1 is that of the second, so their order is
    asked for. Raises SourceError for a missing column."""
    found: set[object] = set()
    for value in column(rows, label):
        if not isinstance(value, str | int | float):
            return None
        found.add(value)
    try:
        numbers = {float(str(value)) if isinstance(value, str) else value for value in found}
    except ValueError:
        names = sorted(map(str, found))
        return names if 2 < len(names) <= _MOST else None
    return len(numbers) if 1 < len(numbers) <= _MOST and numbers == {*range(len(numbers))} else None
