"""A server that sends a byte now and then is given up, too."""

import socket
import threading
import time
from pathlib import Path

import pytest

from tamt_ray.tracking import answered as answered_module
from tamt_ray.tracking.answered import answered
from tamt_ray.tracking.tracker import TrackingError, sync

from .tracker_cases import make_case


def drip(door: socket.socket, over: threading.Event) -> None:
    """Answer with headers that never end, faster than any time-out between two bytes."""
    peer, _ = door.accept()
    with peer:
        peer.sendall(b"HTTP/1.1 200 OK\r\n")
        while not over.wait(0.05):
            peer.sendall(b"X-More: 1\r\n")


def test_a_server_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answered_module, "_PATIENCE", 1.0)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=drip, args=(door, over), daemon=True).start()
        case = make_case(tmp_path, f"http://127.0.0.1:{door.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(TrackingError, match="no whole answer within 1 s"):
            sync(case.sweep, case.plan, case.store, case.records)
        over.set()
    assert time.monotonic() - begun < 30


def test_what_is_returned_and_raised_in_time_arrives() -> None:
    def fail() -> None:
        raise TimeoutError("its own")

    assert answered(lambda: 7) == 7
    with pytest.raises(TimeoutError, match="its own"):
        answered(fail)
