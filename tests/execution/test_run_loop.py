"""The loop of a run while its store does not answer."""

from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tamt_ray.execution.run_loop import Ledger, RunLoop
from tamt_ray.execution.scheduler.messages import Resized
from tamt_ray.plan.expand import Plan
from tamt_ray.store.lease import Fence
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import LeaseLostError


def follow(store: Store) -> list[object]:
    """Return what is seen of a run with one event."""
    seen: list[object] = []
    board, places, monitor, signals = MagicMock(), MagicMock(), MagicMock(), MagicMock(caught=None)
    board.events.side_effect = [(1, [Resized("two nodes")]), (1, [])]
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
    assert Resized("two nodes") in follow(store)


def test_a_lease_that_another_driver_took_does(tmp_path: Path) -> None:
    store = Store(str(tmp_path), Fence("toy", 1))
    store.files.write("leases/toy/00000002-0123456789ab.json", b"")
    with pytest.raises(LeaseLostError):
        follow(store)
