"""A worker of the fleet goes on with short units in one trial."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tamt_ray.execution.fleet import fleet
from tamt_ray.execution.fleet.fleet import FleetWorker
from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault, LeavingError
from tamt_ray.execution.scheduler.messages import Idle, Offer, WorkerCommand
from tamt_ray.spec.execution import Execution, FinetuneLane
from tamt_ray.store.record import Record
from tamt_ray.store.store import Store

from .board_scenes import record
from .test_board import tuned

OFFERS = [Offer(tuned(seed), 1) for seed in range(4)]


class Case:
    """A worker without Ray: what is offered, what each announcement is answered, what is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *more: Offer | Idle) -> None:
        self.more = list(more)
        self.orders = [WorkerCommand.GO_ON] * 9
        self.seconds = 1.0
        self.done: list[int] = []
        self.landed_there: list[tuple[str, Record]] = []
        self.now = 0.0
        self.perform = False
        self.worker = FleetWorker.__new__(FleetWorker)
        self.worker._board = self
        self.worker._store = self.worker._made = None
        self.worker._gpus = 0.5
        self.worker._execution = Execution()
        self.worker.reset_config({"offer": [OFFERS[0]], "holder": "trial-7"})
        monkeypatch.setattr(fleet, "Attempt", self.attempt)
        self.found = fleet.committed
        monkeypatch.setattr(fleet, "committed", self.committed)
        monkeypatch.setattr(fleet, "this_worker", lambda: "here")
        monkeypatch.setattr(fleet.time, "monotonic", lambda: self.now)

    def take(self, lane: str, holder: str, *, alike: bool) -> Offer | Idle:
        assert (lane, holder, alike) == ("fleet", "trial-7", True)
        return self.more.pop(0)

    def attempt(self, board: object, store: object, holder: str, offer: Offer) -> "Case":
        self.offer = offer
        return self

    def committed(self, store: Store | None, offer: Offer) -> Record | None:
        return self.found(store, offer) if store else None

    def landed(self, holder: str, record: Record) -> None:
        self.landed_there.append((holder, record))

    def arrived(self, holder: str, worker: object) -> None:
        assert (holder, worker) == ("trial-7", "here")

    def announce(self) -> WorkerCommand:
        return self.orders.pop(0)

    def carry_out(self, perform: Callable[[object], object]) -> None:
        if self.perform:
            perform(None)
        self.done.append(self.offer.unit.config.seed)
        self.now += self.seconds


def test_until_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(monkeypatch, OFFERS[1], OFFERS[2], Idle.WAIT)
    assert case.worker.step() == {"done": True}
    assert case.done == [0, 1, 2]


def test_a_unit_that_the_lost_worker_had_committed_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its worker was killed between the record and the word of it."""
    store = Store(str(tmp_path))
    again = Offer(OFFERS[1].unit, 2)
    case = Case(monkeypatch, again, Offer(OFFERS[2].unit, 2), Idle.WAIT)
    case.worker._store = store
    kept = store.commit(record(OFFERS[1].unit), {})
    case.worker.step()
    assert case.landed_there == [("trial-7", kept)]
    assert case.done == [0, 2], "of the other one there is no record"


def test_until_the_slice_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(monkeypatch, *OFFERS[1:])
    case.seconds = fleet._SLICE * 0.6
    case.worker.step()
    assert case.done == [0, 1]
    assert len(case.more) == 2, "what is not begun is not taken"


def test_a_long_unit_is_a_trial_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(monkeypatch, OFFERS[1])
    case.seconds = 3600.0
    case.worker.step()
    assert case.done == [0]


@pytest.mark.parametrize("order", [WorkerCommand.STOP, WorkerCommand.DROP])
def test_until_a_unit_is_not_its_own(monkeypatch: pytest.MonkeyPatch, order: WorkerCommand) -> None:
    case = Case(monkeypatch, *OFFERS[1:])
    case.orders[1] = order
    case.worker.step()
    assert case.done == [0]


def test_only_a_first_attempt_has_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that fails costs the process, and so an attempt, but not the unit."""
    seen: list[bool] = []
    for graphs, attempt in ((True, 1), (True, 2), (False, 1)):
        case = Case(monkeypatch, Idle.WAIT)
        case.perform = True
        case.worker._execution = Execution(finetune=FinetuneLane(graphs=graphs))
        case.worker._made = SimpleNamespace(perform=lambda *_, graphs: seen.append(graphs))
        case.worker.reset_config({"offer": [Offer(OFFERS[0].unit, attempt)], "holder": "trial-7"})
        case.worker.step()
    assert seen == [True, False, False]


def test_a_node_that_is_to_go_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(monkeypatch, *OFFERS[1:])
    case.orders[1] = WorkerCommand.SAVE
    with pytest.raises(LeavingError):
        case.worker.step()
    assert case.done == [0]


def test_a_gpu_is_touched_only_under_the_eyes_of_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that hangs or fails when it is set up does so within an announced unit, and what
    fails there is the machine's fault, not the unit's."""
    case = Case(monkeypatch)
    case.perform = True

    def broken(share: float) -> None:
        assert not case.orders[8:], "announced before"
        raise RuntimeError(f"CUDA driver initialization failed, with {share} of it")

    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    # Beside memory without bounds, what lies outside the allocator is nothing.
    endless = SimpleNamespace(total_memory=float("inf"))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: endless)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", broken)
    with pytest.raises(OSError, match=r"0\.5 GPUs, but none works: .* 0\.5 of it") as caught:
        case.worker.step()
    assert fault_of(caught.value) is Fault.PLACE
