"""Controllers of gangs that stand still or wait for ever are killed; waiting for nodes is no fault.

Time is counted by hand.
"""

from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError

from tamt_ray.execution.gang import trainer
from tamt_ray.execution.gang.trainer import result_of
from tamt_ray.execution.scheduler import controllers
from tamt_ray.execution.scheduler.controllers import Controllers, to_start

PATIENCE = 600.0


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    found: list[bytes] = []
    monkeypatch.setattr(controllers, "end", lambda actor: found.append(actor) or True)
    return found


def pass_by(watch: Controllers, seconds: int, *, placed: bool, at_work: bool = False) -> None:
    """Two gangs beat every two seconds; "busy" asks for a search every twenty."""
    for second in range(0, seconds, 2):
        for gang in ("hangs", "busy"):
            watch.beat(gang, gang.encode(), placed)
        if second % 20 == 0:
            watch.asked("busy")
        watch.wait(2.0, {"hangs"} if at_work else ())


def test_a_gang_that_has_its_places_and_never_asks_for_a_search_is_ended(
    killed: list[bytes],
) -> None:
    watch = Controllers(PATIENCE)
    pass_by(watch, 600, placed=True)
    assert killed == []
    pass_by(watch, 10, placed=True)
    assert killed == [b"hangs"]


def test_waiting_for_nodes_and_working_do_not_count(killed: list[bytes]) -> None:
    watch = Controllers(PATIENCE)
    pass_by(watch, 100_000, placed=False)
    pass_by(watch, 500, placed=True)
    pass_by(watch, 100_000, placed=True, at_work=True)
    pass_by(watch, 600, placed=True)
    assert killed == []
    pass_by(watch, 10, placed=True)
    assert killed == [b"hangs"]


def test_the_next_controller_of_a_gang_begins_anew(killed: list[bytes]) -> None:
    watch = Controllers(PATIENCE)
    pass_by(watch, 500, placed=True)
    watch.beat("hangs", b"another", True)
    for _ in range(50):
        watch.beat("hangs", b"another", True)
        watch.beat("busy", b"busy", True)
        watch.wait(2.0, {"busy"})
    assert killed == []


class Controller:
    """Comes up after some seconds, or never."""

    def __init__(self, after: float) -> None:
        self.after = after
        self.dead = False
        self.__ray_ready__ = self.run = self.get_result = SimpleNamespace(remote=lambda: self)


@pytest.mark.parametrize(("after", "dies"), [(290.0, False), (310.0, True)])
def test_a_controller_that_stands_still_before_its_first_heartbeat_is_ended(
    after: float, dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts from the moment that it was asked for."""

    def wait(asked: list[Controller], timeout: float) -> tuple[list[Controller], list[Controller]]:
        return (asked, []) if asked[0].after <= timeout else ([], asked)

    def kill(controller: Controller) -> None:
        controller.dead = True

    def get(controller: Controller) -> str:
        if controller.dead:
            raise ActorDiedError
        return "result"

    monkeypatch.setattr(trainer, "ray", SimpleNamespace(wait=wait, kill=kill, get=get))
    controller = Controller(after)
    if dies:
        with pytest.raises(ActorDiedError):
            result_of(controller, to_start(15.0))
    else:
        assert result_of(controller, to_start(15.0)) == "result"
