"""A store on S3 that fails every tenth request: all of it works, in a bounded number of requests.

The server is moto's, a process of this machine that speaks the protocol over real sockets.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tamt_ray.store.files import Files
from tamt_ray.store.lease import Lease, Pace, ensure_held
from tamt_ray.store.states import States
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import DamagedError, HeldError, LeaseLostError, StoreError
from tests.s3_server import S3, s3

from .store_cases import MASK, failure_of, record_of, unit

__all__ = ["s3"]


def test_a_store_that_fails_now_and_then_loses_nothing(s3: S3) -> None:
    store = Store(s3.uri)
    place, _, options = s3.uri.partition("?")
    assert store.files.address("a/b") == f"{place}/a/b?{options}"
    units = {one.id: one for one in map(unit, range(24))}
    assert store.scan(units).records == {}
    records = {
        one.id: store.commit(record_of(one), {"mask.safetensors": MASK, "curve.jsonl": b"1\n"})
        for one in list(units.values())[:16]
    }
    store.fail(failure_of(unit(20)))
    assert len(s3.web.failed) >= 8
    assert set(s3.web.failed) == {"500", "503", "reset", "cut"}

    fresh = Store(s3.uri)
    found = fresh.scan(units)
    assert found.records == records
    assert set(found.failures) == {unit(20).id}
    assert found.damaged == ()
    assert fresh.verify(records.values()) == []
    assert fresh.record("search", unit(23).id) is None


def test_looking_costs_one_listing_and_no_request_for_what_is_not_there(s3: S3) -> None:
    s3.web.every = 10**9
    store = Store(s3.uri)
    for number in range(3):
        store.commit(record_of(unit(number)), {"mask.safetensors": MASK})
    s3.web.requests.clear()
    units = {one.id: one for one in map(unit, range(1000))}
    assert len(store.scan(units).records) == 3
    listings = [line for line in s3.web.requests if "list-type=2" in line]
    assert len(listings) == 1
    verbs = Counter(line.split()[0] for line in s3.web.requests if line not in listings)
    assert verbs == {"HEAD": 3, "GET": 3}


def test_damage_is_found_and_set_aside_on_s3_too(s3: S3) -> None:
    store = Store(s3.uri)
    record = store.commit(record_of(unit(1)), {"mask.safetensors": MASK})
    (name,) = (path for path in store.files.sizes("units") if "/mask." in path)
    store.files.write(name, MASK[:-1])
    with pytest.raises(DamagedError):
        store.artifact(record, "mask.safetensors")
    (damage,) = store.scan({unit(1).id: unit(1)}).damaged
    assert store.set_aside(damage).startswith(s3.uri)
    assert store.scan({unit(1).id: unit(1)}).records == {}
    kept = [path.rsplit("/", 1)[1].split(".")[0] for path in store.files.sizes("quarantine")]
    assert sorted(kept) == ["mask", "record", "why"]


def test_one_driver_a_sweep_on_s3_too(s3: S3) -> None:
    pace = Pace(beat=0.4, patience=3.0)
    files = Files(s3.uri)
    with Lease.acquire(files, "toy", pace) as first:
        with pytest.raises(HeldError):
            Lease.acquire(Files(s3.uri), "toy", Pace(beat=0.4, patience=60))
        ensure_held(files, first.fence)
    paused = Lease.acquire(files, "toy", pace)
    (claim,) = files.sizes("leases/toy")
    files.write(claim, b"from another machine")
    with Lease.acquire(Files(s3.uri), "toy", pace) as other:
        assert other.fence.epoch == paused.fence.epoch + 1
        late = Store(s3.uri, paused.fence)
        with pytest.raises(LeaseLostError):
            late.commit(record_of(unit(1)), {"mask.safetensors": MASK})
        assert late.record("search", unit(1).id) is None


def test_a_driver_that_died_is_followed_at_once_on_s3_too(s3: S3) -> None:
    """As a process of its own: while it lives the second one is refused and says which it is; what
    it committed is there for the one that follows it."""
    first = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("store_driver.py"), s3.uri], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    with first:
        assert first.stdin
        assert first.stdout
        assert first.stdout.readline() == "held 1\n"
        with pytest.raises(HeldError, match=f"host {os.uname().nodename}, pid {first.pid}, since"):
            Lease.acquire(Files(s3.uri), "toy", Pace(beat=0.4, patience=60))
        first.stdin.write("record\n")
        first.stdin.flush()
        assert first.stdout.readline() == "written\n"
        first.kill()
    said: list[str] = []
    with Lease.acquire(Files(s3.uri), "toy", Pace(beat=0.4, patience=60), said.append) as lease:
        assert (lease.fence.epoch, said) == (2, [])
        assert Store(s3.uri, lease.fence).done({unit().id: unit()}).keys() == {unit().id}


def test_training_states_live_on_s3_too(s3: S3) -> None:
    states = States(Files(s3.uri), "0123")
    assert states.newest(10) is None
    for step in (2, 4, 6):
        states.keep(step, bytes([step]) * 100)
    name = states.newest(5)
    assert name is not None
    assert states.read(name) == bytes([4]) * 100


def test_no_credentials_in_an_address() -> None:
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID and AWS_SECRET") as caught:
        Store("s3://name:secret@bucket/results")
    with pytest.raises(StoreError, match="unknown option 'acess_key'"):
        Store("s3://bucket/results?acess_key=x")
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said(s3: S3) -> None:
    with pytest.raises(StoreError, match="cannot be"):
        Store(s3.uri.replace("bucket", "absent")).commit(record_of(unit(1)), {})
