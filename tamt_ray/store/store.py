"""Results by content identity: `units/<kind>/<id>/`, artifacts first, `record.json` last."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from tamt_ray.plan.identity import identity
from tamt_ray.plan.unit import Kind, Unit, config_dict
from tamt_ray.store.files import Files
from tamt_ray.store.record import Artifact, Failure, Record

FORMAT = 1
"""Raised when a store written before could be misread."""


class StoreError(RuntimeError):
    """The store cannot be used as it is; the message says what to do."""


class Store:
    """The results under one URI. Opening writes nothing."""

    def __init__(self, uri: str) -> None:
        """Raises StoreError for an unusable place or another major version."""
        try:
            self.files = Files(uri)
            if self.files.local and self.files.local.is_file():
                raise NotADirectoryError("it is a file, not a directory")
            self._marked = self.files.exists("store.json")
            found = self.files.read("store.json").decode().strip() if self._marked else str(FORMAT)
        except (OSError, ValueError) as error:
            raise StoreError(f"the store {uri} cannot be used: {error}") from error
        if found != str(FORMAT):
            raise StoreError(
                f"the store {uri} was written in format {found}, this version reads {FORMAT}; "
                "name another `store:` or use the matching version of tamt-ray"
            )
        self.uri = self.files.uri

    def commit(self, record: Record, artifacts: Mapping[str, bytes]) -> Record:
        """Write artifacts, then the record that vouches for them; returns that record."""
        record = record.model_copy(
            update={
                "artifacts": {
                    name: Artifact(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
                    for name, data in artifacts.items()
                }
            }
        )
        self._mark()
        for name, data in artifacts.items():
            self.files.write(_at(record.kind, record.id, name), data)
        body = record.model_dump_json().encode()
        self.files.write(_at(record.kind, record.id, "record.json"), body)
        failure = _at(record.kind, record.id, "failure.json")
        if self.files.exists(failure):
            self.files.remove(failure)
        return record

    def fail(self, failure: Failure) -> None:
        """Remember why a unit did not finish."""
        self._mark()
        body = failure.model_dump_json().encode()
        self.files.write(_at(failure.kind, failure.id, "failure.json"), body)

    def record(self, kind: Kind, unit_id: str) -> Record | None:
        """The record of a unit, or None. Raises StoreError where it cannot be trusted."""
        try:
            data = self.files.read(_at(kind, unit_id, "record.json"))
        except FileNotFoundError:
            return None
        try:
            record = Record.model_validate_json(data)
        except ValidationError as error:
            raise StoreError(
                f"{self.uri}/{_at(kind, unit_id, 'record.json')} is damaged; "
                "delete that unit's directory to have it computed again"
            ) from error
        if record.id != unit_id or record.kind != kind:
            raise StoreError(f"{self.uri}/{_at(kind, unit_id, 'record.json')} is another unit's")
        return record

    def done(self, units: Mapping[str, Unit]) -> dict[str, Record]:
        """Records of those of `units` that are finished, checked against their configs."""
        present = set(self.files.list("units", "record.json"))
        wanted = [u for u in units.values() if _at(u.kind, u.id, "record.json") in present]
        with ThreadPoolExecutor(max_workers=16) as pool:
            found = pool.map(lambda unit: self.record(unit.kind, unit.id), wanted)
            records = {
                unit.id: record for unit, record in zip(wanted, found, strict=True) if record
            }
        for unit in wanted:
            if unit.id in records and identity(records[unit.id].config) != identity(
                config_dict(unit.config)
            ):
                raise StoreError(
                    f"{unit} is recorded with another config; the store {self.uri} is inconsistent"
                )
        return records

    def failures(self, units: Mapping[str, Unit]) -> dict[str, Failure]:
        """Why those of `units` that failed did so."""
        return {
            path.split("/")[2]: self._failure(path)
            for path in self.files.list("units", "failure.json")
            if path.split("/")[2] in units
        }

    def _failure(self, path: str) -> Failure:
        try:
            return Failure.model_validate_json(self.files.read(path))
        except ValidationError as error:
            raise StoreError(f"{self.uri}/{path} is damaged; delete that file") from error

    def artifact(self, record: Record, name: str) -> bytes:
        """A verified artifact. Raises StoreError if it is missing or its content changed."""
        path = _at(record.kind, record.id, name)
        try:
            data = self.files.read(path)
        except FileNotFoundError as error:
            raise StoreError(f"{self.uri}/{path} is missing") from error
        if hashlib.sha256(data).hexdigest() != record.artifacts[name].sha256:
            raise StoreError(
                f"{self.uri}/{path} does not have the content its record vouches for; "
                "delete that unit's directory to have it computed again"
            )
        return data

    def _mark(self) -> None:
        """Say in which format this store is, before the first result."""
        if not self._marked:
            self.files.write("store.json", f"{FORMAT}\n".encode())
            self._marked = True


def _at(kind: Kind, unit_id: str, name: str) -> str:
    return f"units/{kind}/{unit_id}/{name}"
