"""A gang for which the cluster has no room any more ends, and says nothing was lost."""

from collections.abc import Callable

import pytest
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)
from ray.train.v2.api.exceptions import ControllerError

from tamt_ray.execution.gang import gang
from tamt_ray.execution.gang.gang import run_gang
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.placement import GangSize
from tamt_ray.spec.execution import Execution
from tamt_ray.store.store import Store


class Board:
    """Is informed of losses and of the end."""

    def __init__(self, answer: int | None) -> None:
        self.lost_as: list[Fault] = []
        self.gangs_ended = 0
        self._answer = answer

    def lost(self, holder: str, fault: Fault) -> int | None:
        assert holder == "gang-0"
        self.lost_as.append(fault)
        return self._answer

    def ended(self, gang: str) -> None:
        assert gang == "gang-0"
        self.gangs_ended += 1


NO_ROOM = ControllerError(WorkerGroupStartupTimeoutError(4))
Run = Callable[..., Board]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a gang whose trainings end as given, one after the other."""

    def run(*ends: Exception | None, fits: bool, answer: int | None = 0) -> Board:
        board, left = Board(answer), list(ends)

        class Trainer:
            def fit(self) -> None:
                if error := left.pop(0):
                    raise error

        monkeypatch.setattr(gang.BoardClient, "named", lambda _: board)
        monkeypatch.setattr(gang, "_trainer", lambda *_: Trainer())
        # Without a Ray there are no places; asking for them would start one in this process.
        monkeypatch.setattr(gang, "_give_back", lambda _: None)
        monkeypatch.setattr(gang.time, "sleep", lambda _: None)
        run_gang("gang-0", "board", Store("unused"), GangSize(4, 1, 1), Execution(), lambda: fits)
        assert not left, "it ended early"
        return board

    return run


def test_a_gang_that_fits_waits_for_its_place(run: Run) -> None:
    board = run(*[NO_ROOM] * 9, None, fits=True)
    assert (board.lost_as, board.gangs_ended) == ([Fault.NODE] * 9, 1)


def test_one_that_does_not_fit_ends(run: Run) -> None:
    board = run(NO_ROOM, fits=False)
    assert (board.lost_as, board.gangs_ended) == ([], 0)


def test_one_that_waits_ends_with_the_run(run: Run) -> None:
    run(NO_ROOM, fits=True, answer=None)


def test_a_worker_lost_on_its_way_is_tried_again(run: Run) -> None:
    """As often as it takes: its node may be bad, and the others go on meanwhile."""
    error = ControllerError(WorkerGroupStartupFailedError("no"))
    assert run(*[error] * 9, None, fits=True).lost_as == [Fault.NODE] * 9


def test_gangs_that_are_lost_before_they_begin_a_unit_end_the_run(run: Run) -> None:
    with pytest.raises(RayActorError):
        run(*[RayActorError()] * 4, fits=True)
