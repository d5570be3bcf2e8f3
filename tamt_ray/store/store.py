"""Results by content identity: `units/<kind>/<id>/`, artifacts first, `record.json` last."""

import hashlib
import socket
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from tamt_ray.plan.unit import Kind, Unit
from tamt_ray.store.damage import Damage, outdated, set_aside
from tamt_ray.store.files import BrokenSealError, Files, seal, unseal
from tamt_ray.store.lease import Fence, ensure_held, was_claimed
from tamt_ray.store.record import Artifact, Failure, Record
from tamt_ray.store.trouble import DamagedError, NotSharedError, StoreError, UnwritableError
from tamt_ray.values.address import masked
from tamt_ray.values.base import Frozen
from tamt_ray.values.identity import identity

FORMAT = 3
"""Raised when a store written before could be misread."""

_Sealed = TypeVar("_Sealed", bound=Frozen)
_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Holdings:
    """Contents of a store for one plan: sound records, and failures of the units without one."""

    records: dict[str, Record]
    failures: dict[str, Failure]
    damaged: tuple[Damage, ...]
    others: tuple[str, ...] = ()
    """Paths of the records of other plans."""


class Store:
    """The results under one URI. Opening writes nothing."""

    def __init__(self, uri: str, fence: Fence | None = None) -> None:
        """`fence`: write nothing once that lease is lost.

        Raises StoreError for an unusable place or another major version.
        """
        try:
            self.files = Files(uri)
            if self.files.local and self.files.local.is_file():
                raise NotADirectoryError("it is a file, not a directory")
            found = _marked(self.files)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the store {masked(uri)} cannot be used: {error}; name another place as `store:`"
            ) from error
        self._marked = found is not None
        if found is not None and not (found.endswith("\n") and found.strip().isdigit()):
            raise StoreError(
                f"{uri}/store.json is damaged: it should hold a number and holds {found[:20]!r}; "
                f"if this version wrote the store, type: echo {FORMAT} > {uri}/store.json"
            )
        if found is not None and int(found) != FORMAT:
            raise StoreError(
                f"the store {uri} was written in format {int(found)}, this version reads {FORMAT} "
                "and gives other ids; name another `store:` or use the tamt-ray that wrote it"
            )
        self.uri = self.files.uri
        self.fence = fence

    def ensure_held(self) -> None:
        """Raises LeaseLostError once another driver has taken over from the one of the fence."""
        if self.fence:
            ensure_held(self.files, self.fence)

    def ensure_shared(self) -> None:
        """Raise NotSharedError where this place lacks the lease of the fence, and UnwritableError
        where that cannot be found out."""
        if self.fence and not was_claimed(self.files, self.fence.sweep):
            raise NotSharedError(
                f"{self.uri} on {socket.gethostname()} is not the driver's store; set `store:` to "
                "s3://… or to a directory that all nodes mount under one path"
            )

    def commit(self, record: Record, artifacts: Mapping[str, bytes]) -> Record:
        """Write artifacts, then the record that vouches for them; returns that record.

        Raises UnwritableError or LeaseLostError, and then there is no new record; StoreError where
        a published record vouches for other tensors.
        """
        record = record.model_copy(
            update={
                "artifacts": {
                    name: Artifact(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
                    for name, data in artifacts.items()
                }
            }
        )
        self._check_published(record)
        self._mark()
        for name, data in artifacts.items():
            self._write(_artifact_at(record, name), data)
        self._seal(_at(record.kind, record.id, "record.json"), record)
        failure = _at(record.kind, record.id, "failure.json")
        # The record is there and counts, whatever becomes of an older note of a failure.
        with suppress(OSError):
            if self.files.exists(failure):
                self.files.remove(failure)
        return record

    def publish(self, records: Iterable[Record], to: "Store") -> None:
        """Write records without their artifacts into another store. Raises as `commit` does."""
        to._mark()
        for record in records:
            bare = record.model_copy(update={"bare": True})
            to._seal(_at(record.kind, record.id, "record.json"), bare)

    def fail(self, failure: Failure) -> None:
        """Remember why a unit did not finish. Raises as `commit` does."""
        self._mark()
        self._seal(_at(failure.kind, failure.id, "failure.json"), failure)

    def write(self, name: str, data: bytes) -> None:
        """Write any other file of the store, such as a report. Raises as `commit` does."""
        self._mark()
        self._write(name, data)

    def folder(self, name: str) -> dict[str, bytes]:
        """Return every file directly in a folder, by its name, in order. Raises StoreError."""
        with self._reading(name):
            names = self.files.names(name)
        return dict(self._each(lambda file: self._read(f"{name}/{file}"), names))

    def record(self, kind: Kind, unit_id: str) -> Record | None:
        """Return the record of a unit, or None. Raises DamagedError where it cannot be trusted."""
        path = _at(kind, unit_id, "record.json")
        record = self._unseal(path, Record)
        if record and (record.id, record.kind) != (unit_id, kind):
            raise DamagedError(self.uri, path, "it is another unit's")
        return record

    def scan(
        self, units: Mapping[str, Unit], known: Mapping[str, Record] | None = None
    ) -> Holdings:
        """Return what is there of `units`: one listing, then a read per record and failure.

        Records that are `known` and still listed are not read again. Sizes of artifacts are checked
        here, their content where they are used or by `verify`. Nothing is written. Raises
        StoreError where a record has another config than its unit.
        """
        before = known or {}
        with self._reading("units"):
            present = self.files.sizes("units")
        records: dict[str, Record] = {}
        failures: dict[str, Failure] = {}
        damaged: list[Damage] = []

        def read(unit: Unit) -> Record | Failure | Damage | None:
            path = _at(unit.kind, unit.id, "record.json")
            try:
                record = before.get(unit.id)
                if path in present and (record := record or self.record(unit.kind, unit.id)):
                    return self._incomplete(record, present) or record
                path = _at(unit.kind, unit.id, "failure.json")
                return self._unseal(path, Failure) if path in present else None
            except DamagedError as error:
                return Damage(unit.kind, unit.id, error.path, error.why)

        for unit, found in self._each(read, units.values()):
            match found:
                case Record():
                    if identity(found.config) != unit.id:
                        raise StoreError(
                            f"{unit} is recorded with another config; the store {self.uri} is "
                            "inconsistent, name another `store:`"
                        )
                    records[unit.id] = found
                case Failure():
                    failures[unit.id] = found
                case Damage():
                    damaged.append(found)
                case None:
                    pass
        for damage in outdated(units, records):
            del records[damage.id]
            damaged.append(damage)
        mine = {_at(unit.kind, unit.id, "record.json") for unit in units.values()}
        others = (path for path in present if path.endswith("/record.json") and path not in mine)
        return Holdings(records, failures, tuple(damaged), tuple(others))

    def others(self, paths: Sequence[str], most: int = 100) -> list[Record]:
        """Return some records of other plans, by path, evenly drawn, without damaged ones."""
        chosen = sorted(paths)[:: max(1, -(-len(paths) // most))]

        def read(path: str) -> Record | None:
            try:
                return self._unseal(path, Record)
            except DamagedError:
                return None

        return [record for _, record in self._each(read, chosen) if record]

    def done(self, units: Mapping[str, Unit]) -> dict[str, Record]:
        """Records of those of `units` that are finished."""
        return self.scan(units).records

    def failures(self, units: Mapping[str, Unit]) -> dict[str, Failure]:
        """Return the notes of those of `units` that failed."""
        return self.scan(units).failures

    def verify(self, records: Iterable[Record]) -> list[Damage]:
        """Return the artifacts of these records whose content is not that of their sha256."""
        chosen = [
            (record, name) for record in records if not record.bare for name in record.artifacts
        ]

        def read(one: tuple[Record, str]) -> Damage | None:
            record, name = one
            try:
                self.artifact(record, name)
            except DamagedError as error:
                return Damage(record.kind, record.id, error.path, error.why)
            return None

        return [damage for _, damage in self._each(read, chosen) if damage]

    def set_aside(self, damage: Damage) -> str:
        """Move what is damaged to `quarantine/`, so that its unit is computed again; returns
        where to."""
        self.ensure_held()
        try:
            return set_aside(self.files, damage)
        except OSError as error:
            raise self._unwritable(damage.path, error) from error

    def artifact(self, record: Record, name: str) -> bytes:
        """Return a verified artifact. Raises DamagedError if it is missing or its content
        changed."""
        path = _artifact_at(record, name)
        try:
            data = self._read(path)
        except FileNotFoundError as error:
            why = "it was not published; a run of what needs it makes it again"
            raise DamagedError(self.uri, path, why if record.bare else "it is missing") from error
        if hashlib.sha256(data).hexdigest() != record.artifacts[name].sha256:
            raise DamagedError(
                self.uri, path, "it does not have the content its record vouches for"
            )
        return data

    def _incomplete(self, record: Record, present: Mapping[str, int]) -> Damage | None:
        """Return the damage if an artifact is missing or has another size.

        The listing may be older than the record, so a suspect file is re-checked before damage is
        reported.
        """
        if record.bare:
            return None
        for name, artifact in record.artifacts.items():
            path = _artifact_at(record, name)
            if present.get(path) != artifact.bytes and self.files.size(path) != artifact.bytes:
                size = present.get(path)
                found = "it is missing" if size is None else f"it has {size} bytes"
                why = f"{found}, its record says {artifact.bytes}"
                return Damage(record.kind, record.id, path, why)
        return None

    def _check_published(self, record: Record) -> None:
        """Refuse tensors unlike those behind published results: the two must not be mixed."""
        known = self.record(record.kind, record.id)
        for name, artifact in known.artifacts.items() if known and known.bare else ():
            found = record.artifacts.get(name)
            if name.endswith(".safetensors") and (not found or found.sha256 != artifact.sha256):
                raise StoreError(
                    f"{name} of {record.kind} {record.id[:8]} came out with other bits than the "
                    f"one behind the published results in {self.uri}, as on another kind of "
                    "processor; name another `store:`, or ask for mask seeds that it does not have"
                )

    def _each(
        self, act: Callable[[_Given], _Found], given: Iterable[_Given]
    ) -> list[tuple[_Given, _Found]]:
        given = list(given)
        with ThreadPoolExecutor(max_workers=self.files.parallel) as pool:
            return list(zip(given, pool.map(act, given), strict=True))

    def _unseal(self, path: str, kind: type[_Sealed]) -> _Sealed | None:
        try:
            return kind.model_validate_json(unseal(self._read(path)))
        except FileNotFoundError:
            return None
        except (BrokenSealError, ValidationError) as error:
            raise DamagedError(self.uri, path, "it is not what was written") from error

    def _read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        with self._reading(path):
            return self.files.read(path)

    @contextmanager
    def _reading(self, path: str) -> Generator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self.files.address(path)} cannot be read: {error.strerror or error}; "
                "correct what is wrong there, then type the same command again"
            ) from error

    def _seal(self, path: str, value: Frozen) -> None:
        self._write(path, seal(value.model_dump_json().encode()))

    def _write(self, path: str, data: bytes) -> None:
        try:
            self.files.write(path, data, self.ensure_held)
        except OSError as error:
            raise self._unwritable(path, error) from error

    def _unwritable(self, path: str, error: OSError) -> UnwritableError:
        return UnwritableError(
            f"{self.files.address(path)} cannot be written: {error.strerror or error}; "
            "what is finished is kept; free some space or correct the permissions, "
            "then type the same command again"
        )

    def _mark(self) -> None:
        """Say in which format this store is, before the first result."""
        if not self._marked:
            self._write("store.json", f"{FORMAT}\n".encode())
            self._marked = True


def _marked(files: Files) -> str | None:
    try:
        return files.read("store.json").decode(errors="replace")
    except FileNotFoundError:
        return None


def _artifact_at(record: Record, name: str) -> str:
    return _at(record.kind, record.id, record.artifacts[name].file(name))


def _at(kind: Kind, unit_id: str, name: str) -> str:
    return f"units/{kind}/{unit_id}/{name}"
