"""One driver per sweep: a claim with a heartbeat, and an epoch that every takeover raises.

A claim is the file `leases/<sweep>/<epoch>-<token>.json`. A driver that wants the sweep writes a
claim of the next epoch and then lists all claims. If there is another one of that epoch or a later
one, both withdraw and start again after a random pause. Of two drivers that claim at once, at least
one sees the other on every file system whose listings show earlier writes. No conditional write is
needed, which `pyarrow.fs` does not offer.

Clocks are never compared: a claim holds a counter, and a driver that sees it unchanged for
`patience` seconds of its own monotonic clock takes over.
"""

import os
import random
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from pydantic import ValidationError

from tamt_ray.store.files import BrokenSealError, Files, seal, unseal
from tamt_ray.store.trouble import HeldError, LeaseLostError, UnwritableError
from tamt_ray.values.base import Frozen
from tamt_ray.values.process import ProcessId, this_process

_CLAIM = re.compile(r"(\d{8})-[0-9a-f]{12}\.json")


@dataclass(frozen=True)
class Pace:
    """Seconds between two heartbeats, and without one until a driver counts as dead."""

    beat: float = 5.0
    patience: float = 30.0


@dataclass(frozen=True)
class Fence:
    """The lease under which a writer was started."""

    sweep: str
    epoch: int


class Holder(Frozen):
    """A driver's description of itself, in its claim."""

    host: str
    pid: int
    since: str
    """Local time of that host; shown, never compared."""
    process: ProcessId | None = None
    beat: int = 0
    released: bool = False


def ensure_held(files: Files, fence: Fence) -> None:
    """Raises LeaseLostError where a later epoch has begun."""
    later = [name for name in _claims(files, fence.sweep) if _epoch(name) > fence.epoch]
    if later:
        raise LeaseLostError(
            f"another driver runs sweep {fence.sweep!r} now{_who(files, max(later))}: this one "
            "gave no sign of life for too long; what it finished is kept and it writes nothing "
            "more; `tamt status` shows how the other one gets on"
        )


def was_claimed(files: Files, sweep: str) -> bool:
    """Return whether a driver has ever claimed the sweep in this store. Raises UnwritableError."""
    return bool(_claims(files, sweep))


def at_work(files: Files, sweep: str) -> tuple[int, Holder] | None:
    """Epoch and driver of the newest claim on a sweep; None where it was given back, or where its
    process is known to be gone. It may still be dead. Raises UnwritableError."""
    claims = _claims(files, sweep)
    claim = _parse(_read(files, claims[-1])) if claims else None
    if claim is None or claim.released or (claim.process and claim.process.is_gone()):
        return None
    return _epoch(claims[-1]), claim


class Lease:
    """The hold of this process on a sweep, from `acquire` to the end of the `with` block."""

    def __init__(self, files: Files, sweep: str, pace: Pace, name: str) -> None:
        self._files = files
        self._pace = pace
        self._name = name
        self.fence = Fence(sweep, _epoch(name))
        self._claim = _own_claim()
        self._ended = threading.Event()
        self._lost: LeaseLostError | None = None
        self._thread = threading.Thread(target=self._beat, name="tamt-lease", daemon=True)

    @classmethod
    def acquire(
        cls,
        files: Files,
        sweep: str,
        pace: Pace = Pace(),
        watching: Callable[[str], None] = lambda words: None,
    ) -> Self:
        """Return the lease once no other driver holds it; `watching` receives a line for the user.

        Waits at most `patience` seconds for each holder that gives no sign of life. Raises
        HeldError for one that does, and UnwritableError. Of drivers that begin at once at most one
        works on; rarely none, where the one that won sees a claim that is about to be withdrawn.
        """
        while True:
            claims = _claims(files, sweep)
            highest = max(map(_epoch, claims), default=0)
            for name in claims:
                if _epoch(name) == highest:
                    _outlast(files, name, pace, watching)
            if not set(claims).issuperset(_claims(files, sweep)):
                # Another driver came meanwhile; nobody has watched whether it is alive.
                continue
            own = f"leases/{sweep}/{highest + 1:08d}-{uuid.uuid4().hex[:12]}.json"
            _write(files, own, _own_claim())
            others = [name for name in _claims(files, sweep) if name != own]
            if set(claims).issuperset(others):
                for name in others:
                    _remove(files, name)
                return cls(files, sweep, pace, own)
            _remove(files, own)
            time.sleep(random.uniform(0, pace.beat))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Give the lease back; the claim stays as the mark of its epoch."""
        self._ended.set()
        self._thread.join(self._pace.patience)
        try:
            ensure_held(self._files, self.fence)
            _write(self._files, self._name, self._claim.model_copy(update={"released": True}))
        except (LeaseLostError, UnwritableError, OSError):
            # The next driver outlasts this claim; what ended the run is reported elsewhere.
            return

    def raise_if_lost(self) -> None:
        """Raise LeaseLostError once a heartbeat has found another driver; reads nothing."""
        if self._lost:
            raise self._lost

    def _beat(self) -> None:
        while not self._ended.wait(self._pace.beat):
            self._claim = self._claim.model_copy(update={"beat": self._claim.beat + 1})
            try:
                ensure_held(self._files, self.fence)
                _write(self._files, self._name, self._claim)
            except LeaseLostError as error:
                self._lost = error
                return
            except (UnwritableError, OSError):
                # A store out of reach is out of reach for the others too; tried again next time.
                continue


def _outlast(files: Files, name: str, pace: Pace, watching: Callable[[str], None]) -> None:
    """Return once the holder of a claim is gone. Raises HeldError at its first sign of life."""
    first = _read(files, name)
    claim = _parse(first)
    if first is None or (claim and claim.released):
        return
    if claim and claim.process and claim.process.is_gone():
        return
    watching(
        f"another driver may be at work{_who(files, name)}; "
        f"watching for up to {pace.patience:g} s whether it is alive"
    )
    pause = pace.beat / 4
    watched, before = 0.0, time.monotonic()
    while watched < pace.patience:
        time.sleep(pause)
        now = time.monotonic()
        # Where this process itself was stopped, the other one may have been as well.
        watched += min(now - before, 2 * pause)
        before = now
        seen = _read(files, name)
        if seen is None or ((latest := _parse(seen)) and latest.released):
            return
        if seen != first:
            raise HeldError(
                f"another driver runs this sweep{_who(files, name)}; let it finish, or stop it "
                "there and type the same command again"
            )


def _who(files: Files, name: str) -> str:
    claim = None
    # The message is worth more than the name in it.
    with suppress(UnwritableError):
        claim = _parse(_read(files, name))
    return f" (host {claim.host}, pid {claim.pid}, since {claim.since})" if claim else ""


def _own_claim() -> Holder:
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        process=this_process(),
    )


def _claims(files: Files, sweep: str) -> list[str]:
    """Paths of all claims, those of earlier epochs first. Raises UnwritableError."""
    try:
        found = files.sizes(f"leases/{sweep}")
    except OSError as error:
        raise _unreadable(files, f"leases/{sweep}", error) from error
    return sorted(name for name in found if _CLAIM.fullmatch(name.split("/")[-1]))


def _epoch(name: str) -> int:
    return int(name.split("/")[-1].split("-")[0])


def _read(files: Files, name: str) -> bytes | None:
    """None where it is gone. Raises UnwritableError."""
    try:
        return files.read(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(files, name, error) from error


def _unreadable(files: Files, name: str, error: OSError) -> UnwritableError:
    return UnwritableError(
        f"the lease {files.uri}/{name} cannot be read: {error}; correct what is wrong there, then "
        "type the same command again"
    )


def _parse(data: bytes | None) -> Holder | None:
    """None also for a damaged claim: its epoch, in its name, still counts."""
    try:
        return Holder.model_validate_json(unseal(data)) if data else None
    except (BrokenSealError, ValidationError):
        return None


def _write(files: Files, name: str, claim: Holder) -> None:
    try:
        files.write(name, seal(claim.model_dump_json().encode()))
    except OSError as error:
        raise UnwritableError(
            f"the lease {files.uri}/{name} cannot be written: {error}; free some space or correct "
            "the permissions, then type the same command again"
        ) from error


def _remove(files: Files, name: str) -> None:
    try:
        files.remove(name)
    except FileNotFoundError:
        # Another driver cleared it away first.
        return
