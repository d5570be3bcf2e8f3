"""The head of a given cluster: its silence is announced within seconds, and so is its return."""

import socket
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from tamt_ray.cli.progress import Progress
from tamt_ray.execution.cluster import connection, head
from tamt_ray.execution.cluster.connection import ClusterError
from tamt_ray.execution.cluster.head import watch_head
from tamt_ray.execution.scheduler.messages import HeadBack, HeadSilent
from tamt_ray.plan.expand import Plan
from tamt_ray.store.trouble import StoreError


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_head_that_falls_silent_is_announced_once_and_its_return_too() -> None:
    """Also where the first one who hears of it fails for want of the sweep's lease."""
    said: list[HeadSilent | HeadBack] = []

    def say(event: HeadSilent | HeadBack) -> None:
        said.append(event)
        if len(said) == 1:
            raise StoreError("lost")

    door = socket.create_server(("127.0.0.1", 0))
    place = door.getsockname()
    address = f"127.0.0.1:{place[1]}"
    with watch_head(address, say, pause=0.02, patience=0.2):
        time.sleep(0.5)
        assert said == []
        door.close()
        until(lambda: said == [HeadSilent(address)])
        time.sleep(0.5)
        assert said == [HeadSilent(address)]
        with socket.create_server(place):
            until(lambda: said == [HeadSilent(address), HeadBack(address)])
    time.sleep(0.5)
    assert len(said) == 2, "nobody watches any more"


def test_it_is_announced_within_15_seconds() -> None:
    """A host that takes no packets lets each probe wait to its end."""
    assert head._PATIENCE + 2 * (head._PAUSE + head.PROBE) <= 15


def test_the_words_say_what_is_kept_and_what_happens_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(Plan({}, {}), Console(stderr=True))
    progress.watch(HeadSilent("10.0.0.1:6379"))
    progress.watch(HeadBack("10.0.0.1:6379"))
    said = " ".join(capsys.readouterr().err.split())
    assert "head at 10.0.0.1:6379 does not answer; what is done is kept in the store" in said
    assert "goes on if it answers again; else Ray ends it within about a minute" in said
    assert "the same command continues it" in said
    assert "head at 10.0.0.1:6379 answers again; the run goes on" in said


def test_a_head_on_loopback_only_is_refused_at_once_where_ray_would_look_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray takes the machine's address on its network, and tries for a quarter of an hour."""
    monkeypatch.setattr(connection, "resolve_ip_for_localhost", lambda _: "127.0.0.2")
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"127.0.0.1:{door.getsockname()[1]}"
        with pytest.raises(ClusterError, match=r"127\.0\.0\.2, which Ray takes for 127\.0\.0\.1"):
            connection._check_answers(address)
        monkeypatch.setattr(connection, "resolve_ip_for_localhost", lambda host: host)
        connection._check_answers(address)
