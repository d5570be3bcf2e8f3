"""Results that cannot be trusted: what is wrong with them, and where they are put."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from tamt_ray.plan.unit import Kind, Unit
from tamt_ray.store.files import Files
from tamt_ray.store.record import Record

QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Damage:
    """A file of a unit that must not be used, and why."""

    kind: Kind
    id: str
    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


def set_aside(files: Files, damage: Damage) -> str:
    """Move a damaged file, and the record that vouches for it, out of the way; returns where to.

    The record goes first: from then on the unit counts as not done, whatever happens here. Only a
    damaged note of a failure leaves the record where it is.
    """
    folder = f"{QUARANTINE}/{damage.kind}/{damage.id}/{uuid.uuid4().hex[:8]}"
    files.write(f"{folder}/why.txt", f"{damage}\n".encode())
    record = f"units/{damage.kind}/{damage.id}/record.json"
    chosen = [damage.path]
    if damage.path != record and not damage.path.endswith("/failure.json"):
        chosen = [record, damage.path]
    for path in chosen:
        if files.exists(path):
            files.move(path, f"{folder}/{path.rsplit('/', 1)[-1]}")
    return f"{files.uri}/{folder}"


def outdated(units: Mapping[str, Unit], records: Mapping[str, Record]) -> list[Damage]:
    """Results computed from a file that is not the one their parent's record vouches for now.

    So a mask that was lost and computed again costs nothing more where it came out the same.
    """
    found: list[Damage] = []
    for unit_id, record in records.items():
        for read, digest in record.inputs.items():
            parent, _, name = read.partition("/")
            now = records.get(parent)
            if now and now.artifacts[name].sha256 != digest:
                why = (
                    f"it was computed from {units[parent]} as it was before (sha256 "
                    f"{digest[:16]}…), which has since been computed again and come out otherwise"
                )
                path = f"units/{record.kind}/{unit_id}/record.json"
                found.append(Damage(record.kind, unit_id, path, why))
                break
    return found
