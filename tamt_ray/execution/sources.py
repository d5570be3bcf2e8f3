"""Whether the sources still are what they were when the results to be reused were computed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tamt_ray.data.table import name_of
from tamt_ray.plan.unit import Unit, UnitConfig
from tamt_ray.store.record import Record
from tamt_ray.values.table import Table


@dataclass(frozen=True)
class Change:
    """A source whose content is not the one that `units` results were computed from."""

    source: str
    before: str
    now: str
    units: int

    def __str__(self) -> str:
        results = "1 result was" if self.units == 1 else f"{self.units} results were"
        return (
            f"{self.source} is not what it was: {results} computed from content with the "
            f"fingerprint {self.before}, now it has {self.now}"
        )


def changes(
    units: Mapping[str, Unit], records: Mapping[str, Record], now: Mapping[str | Table, str]
) -> list[Change]:
    """What differs between the sources `now`, by source or table, and what `records` say."""
    found: Counter[tuple[str, str, str]] = Counter()
    for unit_id, record in records.items():
        for name, key in _read_by(units[unit_id].config):
            before, current = record.sources.get(name), now.get(key)
            if before and current and before != current:
                found[name, before, current] += 1
    return [Change(*which, count) for which, count in sorted(found.items())]


def _read_by(config: UnitConfig) -> Iterator[tuple[str, str | Table]]:
    """What a unit reads: the name in its record, and the source or table that the name means."""
    yield config.model.source, config.model.source
    for table in config.tables:
        yield name_of(table), table
    for file in config.files:
        yield file, file
