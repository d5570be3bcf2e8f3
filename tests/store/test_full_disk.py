"""A disk that runs full: a clear word, nothing half-read, and on it goes once there is room."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tamt_ray.store.files import Files
from tamt_ray.store.lease import Lease, Pace
from tamt_ray.store.space import bytes_free
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import UnwritableError

from .store_cases import failure_of, record_of, unit

MASK = bytes(60_000)


@pytest.fixture
def disk(mount_disk: Callable[[str], Path]) -> Path:
    """A real file system of 512 KiB."""
    return mount_disk("512k")


def fill(disk: Path) -> Path:
    """A file that takes all the room there is left."""
    path = disk / "full"
    with path.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    return path


def test_a_full_disk_ends_in_a_clear_word_and_goes_on_with_room(disk: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    store = Store(str(disk / "results"))
    units = {one.id: one for one in map(unit, range(30))}
    written: list[str] = []

    def commit_all() -> None:
        for one in units.values():
            store.commit(record_of(one), {"mask.safetensors": MASK})
            written.append(one.id)

    with pytest.raises(UnwritableError) as caught:
        commit_all()
    assert "No space left on device" in str(caught.value)
    assert "free some space" in str(caught.value)
    assert 2 <= len(written) <= 6

    found = store.scan(units)
    assert list(found.records) == written
    assert found.damaged == ()
    assert store.verify(found.records.values()) == []
    assert not list(disk.rglob("*.tmp"))

    full = fill(disk)
    with pytest.raises(UnwritableError):
        store.fail(failure_of(unit(29)))
    with pytest.raises(UnwritableError, match=r"lease.*No space left.*free some space"):
        Lease.acquire(Files(store.uri), "toy", Pace())
    assert store.scan(units) == found, "failing to write changed nothing"

    full.unlink()
    ballast.unlink()
    with Lease.acquire(store.files, "toy", Pace()):
        store.commit(record_of(unit(29)), {"mask.safetensors": MASK})
    assert set(store.done(units)) == {*written, unit(29).id}


def test_a_heartbeat_that_finds_no_room_is_made_up_for(disk: Path) -> None:
    with Lease.acquire(Files(str(disk)), "toy", Pace(0.02, 60)) as lease:
        (claim,) = (disk / "leases/toy").glob("*.json")
        ballast = fill(disk)
        time.sleep(0.1)
        stopped = claim.read_bytes()
        time.sleep(0.1)
        assert claim.read_bytes() == stopped, "it could not be written"
        lease.raise_if_lost()
        ballast.unlink()
        deadline = time.monotonic() + 10
        while claim.read_bytes() == stopped:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        lease.raise_if_lost()


def test_room_is_measured_where_the_store_will_be(disk: Path) -> None:
    there = bytes_free(disk / "not" / "yet" / "there")
    assert 0 < there <= 512 * 1024
