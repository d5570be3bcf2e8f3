"""One driver a sweep, decided without comparing two clocks."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tamt_ray.store.files import Files, seal, unseal
from tamt_ray.store.lease import Fence, Holder, Lease, Pace, ensure_held
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import HeldError, LeaseLostError, UnwritableError
from tamt_ray.values.process import ProcessId, this_process

from .store_cases import record_of, unit

QUICK = Pace(beat=0.05, patience=0.6)
PATIENT = Pace(beat=0.05, patience=30)
"""To meet a holder that lives: it is refused at the first sign of it, however slow the machine."""
"""Twelve heartbeats fit into the patience, on a machine that is busy with other things."""
DRIVER = Path(__file__).with_name("store_driver.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def files(root: Path) -> Files:
    return Files(str(root))


@contextmanager
def driver(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease and writes what it is told to."""
    process = subprocess.Popen(
        [sys.executable, DRIVER, str(root)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held 1\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def ask(process: subprocess.Popen[str], what: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(what + "\n")
    process.stdin.flush()
    return process.stdout.readline()


def from_elsewhere(files: Files) -> None:
    """Make the claim look as if it came from another machine, whose processes cannot be seen."""
    (name,) = files.sizes("leases/toy")
    claim = Holder.model_validate_json(unseal(files.read(name)))
    files.write(name, seal(claim.model_copy(update={"process": None}).model_dump_json().encode()))


def test_a_second_driver_is_told_who_the_first_one_is(root: Path, files: Files) -> None:
    with driver(root) as first, pytest.raises(HeldError) as caught:
        Lease.acquire(files, "toy", PATIENT)
    host = os.uname().nodename
    assert f"host {host}, pid {first.pid}, since 2" in str(caught.value)
    assert "type the same command again" in str(caught.value)


def test_another_sweep_of_the_same_store_is_free(root: Path, files: Files) -> None:
    with driver(root), Lease.acquire(files, "other", QUICK) as lease:
        assert lease.fence == Fence("other", 1)


def test_a_lease_given_back_is_free_at_once(files: Files) -> None:
    for epoch in (1, 2, 3):
        said: list[str] = []
        with Lease.acquire(files, "toy", Pace(5, 3600), said.append) as lease:
            assert lease.fence.epoch == epoch
        assert said == []
    assert len(files.sizes("leases/toy")) == 1, "one small file a sweep stays"


def test_a_driver_that_died_here_is_followed_at_once(root: Path, files: Files) -> None:
    with driver(root) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        said: list[str] = []
        with Lease.acquire(files, "toy", Pace(0.5, 10), said.append) as lease:
            assert lease.fence.epoch == 2
        assert said == [], "nobody had to be watched"


def test_a_zombie_is_dead(root: Path, files: Files) -> None:
    """A driver whose parent does not wait for it keeps its process number."""
    with driver(root) as first:
        first.send_signal(signal.SIGKILL)
        while Path(f"/proc/{first.pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
            time.sleep(0.01)
        said: list[str] = []
        with Lease.acquire(files, "toy", Pace(0.5, 10), said.append) as lease:
            assert lease.fence.epoch == 2
        assert said == [], "nobody had to be watched"


def test_a_driver_that_died_elsewhere_is_followed_after_the_patience(files: Files) -> None:
    Lease.acquire(files, "toy", QUICK)
    from_elsewhere(files)
    said: list[str] = []
    begin = time.monotonic()
    with Lease.acquire(files, "toy", QUICK, said.append) as lease:
        assert time.monotonic() - begin >= QUICK.patience
        assert lease.fence.epoch == 2
    assert f"pid {os.getpid()}" in said[0]
    assert "for up to 0.6 s" in said[0]


def test_a_paused_driver_that_was_followed_may_not_write(root: Path, files: Files) -> None:
    with driver(root) as first:
        first.send_signal(signal.SIGSTOP)
        with Lease.acquire(files, "toy", QUICK) as lease:
            mine = Store(str(root), lease.fence)
            kept = mine.commit(record_of(unit()), {"mask.safetensors": b"mine"})
            first.send_signal(signal.SIGCONT)
            for what in ("record", "failure", "report"):
                answer = ask(first, what)
                assert answer.startswith("refused")
                assert f"pid {os.getpid()}" in answer
            until = time.monotonic() + 30
            while not ask(first, "watch").startswith("refused"):
                assert time.monotonic() < until, "its heartbeat notices, too"
                time.sleep(QUICK.beat)
        assert ask(first, "record").startswith("refused"), "also when the other one has ended"
    found = Store(str(root))
    assert found.scan({unit().id: unit()}).records == {unit().id: kept}
    assert not list(root.rglob("failure.json"))
    assert not list(root.rglob("report.html"))


def test_the_last_look_comes_after_the_data_is_on_the_disk(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver paused in the middle of a write is refused when it wakes."""
    with Lease.acquire(files, "toy", Pace(60, 60)) as lease:
        store = Store(str(files.local), lease.fence)
        store.commit(record_of(unit()), {"mask.safetensors": b"good"})
        sync, before = os.fsync, store.record("search", unit().id)
        assert files.local
        other = files.local / "leases/toy/00000002-0123456789ab.json"

        def paused(descriptor: int) -> None:
            sync(descriptor)
            other.write_bytes(b"")

        monkeypatch.setattr(os, "fsync", paused)
        with pytest.raises(LeaseLostError):
            store.commit(record_of(unit()), {"mask.safetensors": b"late"})
        assert store.record("search", unit().id) == before


def test_of_many_that_begin_at_once_one_wins(files: Files) -> None:
    """With a patience that a machine with other work does not use up between two beats."""
    pace = PATIENT
    start, end = threading.Barrier(8), threading.Event()
    outcomes: list[str] = []

    def begin() -> None:
        start.wait()
        try:
            with Lease.acquire(Files(files.uri), "toy", pace) as lease:
                outcomes.append("won")
                end.wait()
                lease.raise_if_lost()
                ensure_held(files, lease.fence)
        except HeldError:
            outcomes.append("held")
        except LeaseLostError:
            outcomes.append("lost")

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(outcomes) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    end.set()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held"] * 7 + ["won"]


def test_two_claims_that_cross_both_withdraw(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees the other steps back, so that never two believe they hold it."""
    rival = "leases/toy/00000001-ffffffffffff.json"
    write, written = files.write, list[str]()

    def crossing(name: str, data: bytes, check: Callable[[], None] = lambda: None) -> None:
        write(name, data, check)
        written.append(name)
        if len(written) == 1:
            write(rival, b"")

    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            assert list(files.sizes("leases/toy")) == [rival], "it has withdrawn its own"
            files.remove(rival)

    monkeypatch.setattr(files, "write", crossing)
    monkeypatch.setattr("tamt_ray.store.lease.time.sleep", pause)
    lease = Lease.acquire(files, "toy", QUICK)
    assert lease.fence.epoch == 1
    assert len(written) == 2


def test_a_clock_that_is_set_decides_nothing(
    root: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The observer's clock stands decades away from the holder's; so does every file's time."""
    real = time.time
    with driver(root) as first:
        for jump in (-1e9, 1e9):
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
            for path in (root / "leases/toy").iterdir():
                os.utime(path, (real() + jump, real() + jump))
            with pytest.raises(HeldError):
                Lease.acquire(files, "toy", PATIENT)
        first.send_signal(signal.SIGKILL)
        first.wait()
        with Lease.acquire(files, "toy", QUICK) as lease:
            assert lease.fence.epoch == 2
            time.sleep(4 * QUICK.beat)
            lease.raise_if_lost()


def test_what_the_observer_slept_through_does_not_count(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole machine that was frozen wakes with both drivers on it: hours have passed on every
    clock and no heartbeat could come."""
    holder = Lease.acquire(files, "toy", Pace(3600, 3600))
    from_elsewhere(files)
    now, sleeps = [0.0], list[float]()

    def frozen(seconds: float) -> None:
        sleeps.append(seconds)
        now[0] += 7200.0
        if len(sleeps) == 4:
            holder._pace = Pace(0.0, 3600)
            holder._thread.start()
            while holder._claim.beat < 2:
                pass

    monkeypatch.setattr("tamt_ray.store.lease.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tamt_ray.store.lease.time.sleep", frozen)
    try:
        with pytest.raises(HeldError):
            Lease.acquire(files, "toy", Pace(5.0, 30.0))
    finally:
        holder._ended.set()
        holder._thread.join()


@pytest.mark.parametrize("keep", [0, 1, 40, -1])
def test_a_torn_claim_holds_nobody_up_for_longer(keep: int, files: Files) -> None:
    """It names no process any more, so it is watched like one on another machine."""
    Lease.acquire(files, "toy", QUICK)
    (name,) = files.sizes("leases/toy")
    files.write(name, files.read(name)[:keep])
    with Lease.acquire(files, "toy", Pace(0.02, 0.1)) as lease:
        assert lease.fence.epoch == 2


def test_files_that_are_no_claims_do_not_matter(files: Files) -> None:
    files.write("leases/toy/notes.txt", b"x")
    files.write("leases/toy/.00000009-0123456789ab.json.tmp", b"x")
    assert Lease.acquire(files, "toy", QUICK).fence.epoch == 1


def test_a_process_is_told_from_a_later_one_of_the_same_number() -> None:
    me = this_process()
    assert me is not None
    assert not me.is_gone()
    assert me.model_copy(update={"born": me.born - 1}).is_gone(), "the number was used again"
    assert me.model_copy(update={"pid": 2**22 + 1}).is_gone(), "no system numbers so high"
    elsewhere = {"boot": "another machine", "pid": 2**22 + 1}
    assert not me.model_copy(update=elsewhere).is_gone(), "cannot be seen from here"
    assert json.loads(me.model_dump_json()) == json.loads(
        ProcessId.model_validate_json(me.model_dump_json()).model_dump_json()
    )


def test_a_store_out_of_reach_in_mid_run_counts_as_such(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is broken off by this very class; a unit is not to blame."""
    with Lease.acquire(files, "toy", QUICK) as lease:

        def unreachable(*_: object) -> dict[str, int]:
            raise OSError("no route to host")

        with monkeypatch.context() as patch:
            patch.setattr(files, "sizes", unreachable)
            with pytest.raises(UnwritableError, match="no route to host") as raised:
                ensure_held(files, lease.fence)
    assert raised.type is UnwritableError
