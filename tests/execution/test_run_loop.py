"""The loop of a run while its store does not answer."""

from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tamt_ray.execution.interruption import BrokenOffError
from tamt_ray.execution.run_loop import Ledger, RunLoop
from tamt_ray.execution.scheduler.messages import Event, Failed, Resized
from tamt_ray.plan.expand import Plan
from tamt_ray.store.lease import Fence
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import LeaseLostError

from .board_scenes import failure, tune

RESIZED = Resized("two nodes")


def follow(store: Store, event: Event = RESIZED) -> list[object]:
    """Return what is seen of a run with one event."""
    seen: list[object] = []
    board, places, monitor, signals = MagicMock(), MagicMock(), MagicMock(), MagicMock(caught=None)
    board.events.side_effect = [(1, [event]), (1, [])]
    places.nodes.refresh.return_value = places.adjust.return_value = None
    places.nodes.resources, places.waiting = [], False
    aggregation, lanes = MagicMock(), MagicMock()
    aggregation.exchange.return_value = lanes.running.return_value = False
    loop = RunLoop(
        Plan({}, {}), store, Ledger({}), MagicMock(), False, seen.append, board, aggregation,
        monitor, places,
    )  # fmt: skip
    loop.follow(lanes, signals, 0.0)
    return seen


def test_leases_that_cannot_be_listed_now_do_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path), Fence("toy", 1))

    def refused(_name: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store.files, "sizes", refused)
    assert RESIZED in follow(store)


def test_a_lease_that_another_driver_took_does(tmp_path: Path) -> None:
    store = Store(str(tmp_path), Fence("toy", 1))
    store.files.write("leases/toy/00000002-0123456789ab.json", b"")
    with pytest.raises(LeaseLostError):
        follow(store)


@pytest.mark.parametrize("error", ["UnwritableError", "NotSharedError", "SourceError"])
def test_a_store_that_fails_a_unit_for_good_ends_the_run(tmp_path: Path, error: str) -> None:
    """Nothing is recorded: it is no failure of the unit, and the same command tries it again."""
    failed = Failed(failure(tune(1)).model_copy(update={"error": error, "message": "no room"}))
    store = Store(str(tmp_path))
    if error == "SourceError":
        assert failed in follow(store, failed)
        assert [*tmp_path.rglob("failure.json")]
    else:
        with pytest.raises(BrokenOffError, match="no room"):
            follow(store, failed)
        assert not [*tmp_path.iterdir()]
