"""What MLflow has still to be told, on a local disk."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tamt_ray.plan.config import Kind
from tamt_ray.store.files import Files
from tamt_ray.store.record import Failure
from tamt_ray.values.identity import identity

_EVENTS = "events.jsonl"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class UnitLanded:
    """A unit has a record; the store holds all the rest."""

    unit: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class UnitFailed:
    """A unit did not finish."""

    unit: str
    kind: Kind
    error: str
    """Class and message."""
    traceback: str
    attempts: int
    at: float

    @staticmethod
    def of(failure: Failure) -> "UnitFailed":
        """The end of the message and of the traceback is enough here; the store has all."""
        error = f"{failure.error}: {failure.message}"[:1000]
        return UnitFailed(
            failure.id, failure.kind, error, failure.traceback[-4000:], failure.attempts, failure.at
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """Tables and figures of the sweep; the files lie in the spool's directory `digest`."""

    digest: str
    names: tuple[str, ...]
    metrics: Mapping[str, float]
    at: float


Event = UnitLanded | UnitFailed | Summary
_KINDS: dict[str, type[Event]] = {"landed": UnitLanded, "failed": UnitFailed, "summary": Summary}


@dataclass(frozen=True, slots=True)
class Entry:
    """An event and its number in the spool."""

    number: int
    event: Event


class Spool:
    """An append-only file of events and acknowledgements; one process at a time has it open.

    An event is on disk when `append` returns. An acknowledgement may be lost in a crash, so that
    an event may come twice: whoever reads events must not mind. A line that is no event is the
    torn end of a crash, or damaged, and is left out: the store has what it told.
    """

    def __init__(self, directory: Path) -> None:
        """Reads what an earlier process left and drops what was acknowledged. Raises OSError."""
        self._directory = directory
        self._files = Files(str(directory))
        self._path = directory / _EVENTS
        events, done = _read(self._path)
        left = [event for number, event in events.items() if number not in done]
        self.pending = [Entry(number, event) for number, event in enumerate(left)]
        """What MLflow had not got when the spool was opened, oldest first."""
        self._next = len(left)
        self._files.write(_EVENTS, "".join(_line(entry) for entry in self.pending).encode())
        kept = {event.digest for event in left if isinstance(event, Summary)}
        for orphan in directory.iterdir():
            if orphan.is_dir() and orphan.name not in kept:
                shutil.rmtree(orphan)

    def append(self, *events: Event) -> list[Entry]:
        """The events with their numbers, durably on disk. Raises OSError, without effect."""
        entries = [self.number(event) for event in events]
        self._write("".join(map(_line, entries)), sync=True)
        return entries

    def number(self, event: Event) -> Entry:
        """The event with a number of its own, in memory only."""
        self._next += 1
        return Entry(self._next - 1, event)

    def summary(
        self, files: Mapping[str, bytes], metrics: Mapping[str, float], at: float
    ) -> Summary:
        """Keeps the files and describes them. Raises OSError; ValueError for a path outside."""
        content = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        numbers = {name: repr(value) for name, value in metrics.items()}
        digest = identity({"files": content, "metrics": numbers})
        for name, data in files.items():
            self._files.write(f"{digest}/{name}", data)
        return Summary(digest, tuple(files), dict(metrics), at)

    def files(self, summary: Summary) -> Path:
        """The directory that holds the files of a summary."""
        return self._directory / summary.digest

    def acknowledge(self, entry: Entry) -> None:
        """MLflow has it. Raises OSError."""
        self._write("\n" + json.dumps({"done": entry.number}), sync=False)
        if isinstance(entry.event, Summary) and self.files(entry.event).is_dir():
            shutil.rmtree(self.files(entry.event))

    def _write(self, text: str, sync: bool) -> None:
        with self._path.open("ab", buffering=0) as stream:
            data = memoryview(text.encode())
            # On a nearly full disk a part may be written without an error; the next one raises.
            while data:
                data = data[stream.write(data) :]
            if sync:
                os.fsync(stream.fileno())


def _line(entry: Entry) -> str:
    """A line begins with its newline, so that a torn line never spoils the one behind it."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(entry.event, cls))
    return "\n" + json.dumps({"number": entry.number, "is": kind, **asdict(entry.event)})


def _read(path: Path) -> tuple[dict[int, Event], set[int]]:
    """Events by number in their order, and the numbers acknowledged."""
    events: dict[int, Event] = {}
    done: set[int] = set()
    if not path.exists():
        return events, done
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
            if "done" in row:
                done.add(int(row["done"]))
                continue
            number, kind = int(row.pop("number")), _KINDS[row.pop("is")]
            event = kind(**row)
            if isinstance(event, Summary):
                event = replace(event, names=tuple(event.names))
                if not _DIGEST.fullmatch(event.digest) or not (path.parent / event.digest).is_dir():
                    continue
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        events[number] = event
    return events, done
