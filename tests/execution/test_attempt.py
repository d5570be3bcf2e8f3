"""One attempt at a unit, with a board that agrees to everything."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.messages import Offer, Worker, WorkerCommand
from tamt_ray.execution.worker import attempt
from tamt_ray.execution.worker.attempt import Attempt, committed
from tamt_ray.execution.worker.unit_runner import UnitRunner
from tamt_ray.plan.unit import Cell, Unit, parse_config
from tamt_ray.search.process_group import ProcessGroup
from tamt_ray.store.files import Files
from tamt_ray.store.lease import Fence, Lease
from tamt_ray.store.logs import read_logs
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import NotSharedError

CONFIG = {"kind": "search", "method": "omp", "model": {"source": "dir:m"}, "sparsity": 0.5}
UNIT = Unit(parse_config(CONFIG), Cell(method="omp"))


class Board:
    """Hears signs of life and the end."""

    def __init__(self) -> None:
        self.landed_records: list[Record] = []

    def beat(self, *_: object) -> WorkerCommand:
        return WorkerCommand.GO_ON

    def landed(self, _: str, record: Record) -> None:
        self.landed_records.append(record)


def test_a_log_is_read_while_its_unit_is_at_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It grows in the store under the name that it has in the end, and then is whole."""
    monkeypatch.setattr(attempt, "BEAT", 0.02)
    monkeypatch.setattr(attempt, "_SHOWN", 0.04)
    monkeypatch.setattr(attempt, "this_worker", lambda log: Worker("here", "node", log, b""))
    store, board = Store(str(tmp_path)), Board()

    def shown(word: str) -> list[str]:
        until = time.monotonic() + 20
        while not any(word in log for log in read_logs(store, UNIT.kind, UNIT.id)):
            assert time.monotonic() < until
            time.sleep(0.01)
        return read_logs(store, UNIT.kind, UNIT.id)

    def perform(_: object) -> Record:
        for word in ("first", "second"):
            sys.stdout.write(f"{word}\n")
            sys.stdout.flush()
            (log,) = shown(word)
            assert log.endswith(f"{word}\n# still at work\n")
        return Record(
            id=UNIT.id, kind=UNIT.kind, config={}, started=0, seconds=1, device="", place=""
        )

    mine: Any = board
    with capfd.disabled():
        Attempt(mine, store, "holder", Offer(UNIT, 1)).carry_out(perform)
    (log,) = read_logs(store, UNIT.kind, UNIT.id)
    assert log.splitlines()[1:] == ["first", "second", "# done in 1.0 s"]
    assert [record.id for record in board.landed_records] == [UNIT.id]


def test_what_another_sweep_finished_meanwhile_is_not_begun(tmp_path: Path) -> None:
    """Also at the first attempt: two sweeps that overlap both offered it."""
    store = Store(str(tmp_path))
    assert committed(store, UNIT) is None
    record = Record(
        id=UNIT.id, kind=UNIT.kind, config={}, started=0, seconds=1, device="", place=""
    )
    Store(str(tmp_path)).commit(record, {})
    assert committed(store, UNIT) == record


def test_a_store_that_is_another_one_on_this_machine_gets_no_unit(tmp_path: Path) -> None:
    """The path of the sweep's store is a folder of this node alone, without the driver's lease."""
    elsewhere = UnitRunner(Store(str(tmp_path / "node"), Fence("toy", 1)), ProcessGroup(), "here")
    with pytest.raises(NotSharedError, match="is not the driver's store; set `store:`") as caught:
        elsewhere.perform(UNIT)
    assert fault_of(caught.value) is Fault.PLACE
    assert not (tmp_path / "node").exists()
    with Lease.acquire(Files(str(tmp_path / "shared")), "toy") as lease:
        shared = Store(str(tmp_path / "shared"), lease.fence)
        shared.ensure_shared()
    shared.ensure_shared()
