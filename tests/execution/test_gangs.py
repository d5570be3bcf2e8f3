"""How many search gangs there are and how wide, by hand; what is left of a lost one."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.train import TrainingFailedError

from tamt_ray.execution.gang import gang, heartbeat
from tamt_ray.execution.gang import gangs as gangs_module
from tamt_ray.execution.gang.gangs import Gangs
from tamt_ray.execution.gang.heartbeat import Heartbeat
from tamt_ray.execution.scheduler.board import Demand
from tamt_ray.execution.scheduler.client import BoardClient
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.placement import GangSize, Node, Slots, gang_size, room_for, width
from tamt_ray.spec.execution import Execution, SearchLane

EIGHT: Node = {"CPU": 64.0, "GPU": 8.0}
SIZE = GangSize(4, 1, 1)


def lane(gangs: object, workers: int = 4) -> SearchLane:
    return SearchLane.model_validate({"gangs": gangs, "workers": workers})


@pytest.mark.parametrize(
    ("workers", "haste", "others", "room", "wide"),
    [
        (4, 0.01, 99, 64, 1),
        (4, 0.5, 0, 64, 1),
        (4, 0.51, 0, 64, 2),
        (4, 1.01, 0, 64, 4),
        (4, 50.0, 0, 64, 4),
        (4, 50.0, 0, 3, 2),
        (4, 50.0, 2, 4, 2),
        (4, 50.0, 3, 4, 1),
        (4, 50.0, 99, 8, 1),
        (4, 0.01, 99, 1, 1),
        (4, 0.01, 99, 0, 0),
        (4, 0.01, 0, -3, 0),
        (6, 2.0, 0, 64, 6),
        (6, 2.0, 0, 5, 3),
        (6, 1.1, 0, 64, 3),
        (5, 0.7, 0, 64, 5),
        (5, 0.7, 0, 4, 1),
    ],
)
def test_the_width_of_the_next_gang(
    workers: int, haste: float, others: int, room: int, wide: int
) -> None:
    """Twice as fast as the rest needs, in widths that divide the widest, and one worker is left for
    each other search."""
    assert width(lane("auto", workers), haste, others, 0, room) == wide


@pytest.mark.parametrize(
    ("there", "room", "wide"), [(0, 8, 4), (1, 4, 4), (1, 3, 0), (2, 8, 0), (0, 0, 0)]
)
def test_with_a_number_of_gangs_all_are_as_wide_as_was_said(
    there: int, room: int, wide: int
) -> None:
    assert width(lane(2), 50.0, 0, there, room) == wide
    assert width(lane(2), 0.01, 99, there, room) == wide


class Started:
    """The gangs of a cluster, as they are started."""

    def __init__(self, gangs: object, slots: int = 8, size: GangSize = SIZE) -> None:
        self.slots = Slots(slots, 1, 1)
        self.widths: dict[str, int] = {}
        self.gangs = Gangs("run", lane(gangs, size.workers), size, self.slots, self.start)

    def start(self, gang: str, size: GangSize) -> None:
        assert gang not in self.widths
        self.widths[gang] = size.workers

    def look(self, *paths: float, at_work: int = 0, left: float = 1e6, nodes: int = 1) -> list[int]:
        """Widths of the gangs that are started."""
        before = len(self.widths)
        self.gangs.adjust(Demand(paths, at_work, left), [EIGHT] * nodes)
        return list(self.widths.values())[before:]


def test_narrow_gangs_while_searches_abound_and_wide_ones_for_the_last() -> None:
    cluster = Started("auto")
    assert cluster.look(*[9.0] * 100) == [1] * 8
    assert cluster.slots.free() == 0
    assert cluster.look(*[9.0] * 92, at_work=8) == [], "there is no room"
    for number in range(5):
        cluster.gangs.ended(f"run-gang-{number}")
    assert cluster.slots.free() == 5
    assert cluster.look(9.0, at_work=3, left=36.0) == [4]
    assert cluster.slots.free() == 1


def test_a_gang_that_has_no_search_yet_takes_one_of_those_that_wait() -> None:
    cluster = Started("auto")
    assert cluster.look(9.0, 8.0) == [1, 1]
    assert cluster.look(9.0, 8.0) == [], "both are on their way"
    assert cluster.look(8.0, at_work=1) == []
    assert cluster.look(8.0, 7.0, 6.0, at_work=2) == [1, 1, 1]


def test_searches_that_get_ready_later_get_their_gangs_then() -> None:
    """Behind the training of a head: one gang first, more once it is done."""
    cluster = Started(2)
    assert cluster.look(9.0) == [4]
    assert cluster.look(at_work=1) == []
    assert cluster.look(*[9.0] * 5) == [4], "the first gang takes one, and two are allowed"
    assert cluster.look(*[9.0] * 3, at_work=2) == []


def test_a_gang_that_waits_gets_more_promised_until_it_has_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Quarters of GPUs that fine-tunes give back lie on any; a whole one has to come of them."""
    now = 0.0
    monkeypatch.setattr(gangs_module.time, "monotonic", lambda: now)
    cluster = Started(2, slots=32, size=GangSize(4, 1.0, 1.0))
    assert cluster.look(9.0) == [4]
    free = []
    for _ in range(5):
        cluster.look(9.0)
        free.append(cluster.slots.free())
        now += 60
    assert free == [28, 24, 16, 0, 0]
    cluster.look(at_work=1)
    assert cluster.slots.free() == 28


def test_a_gang_that_no_longer_fits_is_not_waited_for() -> None:
    cluster = Started("auto")
    assert cluster.look(9.0, left=9.0) == [4]
    assert cluster.gangs.fit()
    cluster.gangs.adjust(Demand((9.0,), 0, 9.0), [{"CPU": 3, "GPU": 3}])
    assert not cluster.gangs.fit(), "it returns, and gives its places back"
    cluster.gangs.ended("run-gang-0")
    cluster.gangs.adjust(Demand((9.0,), 0, 9.0), [{"CPU": 3, "GPU": 3}])
    assert list(cluster.widths.values()) == [4, 2]


def test_work_that_takes_no_time_is_no_hindrance() -> None:
    assert Started("auto").look(0.0, 0.0, left=0.0) == [1, 1]


def test_nodes_that_come_are_used_and_lost_ones_not_missed() -> None:
    cluster = Started("auto", slots=16)
    assert len(cluster.look(*[9.0] * 20)) == 8
    assert cluster.look(*[9.0] * 12, at_work=8, nodes=0) == []
    assert len(cluster.look(*[9.0] * 12, at_work=8, nodes=2)) == 8


def test_where_the_widest_gang_does_not_fit_a_narrower_one_does() -> None:
    nodes: list[Node] = [{"CPU": 2.0}]
    auto = Execution.model_validate({"search": {"workers": 4, "gangs": "auto"}})
    size = gang_size(auto, nodes)
    assert room_for(size, nodes) == 2
    assert width(auto.search, 50.0, 0, 0, 2) == 2


class WorkerGroupStartupTimeoutError(Exception):
    """Named as Ray Train's."""


class VainError(TrainingFailedError):
    controller_failure = WorkerGroupStartupTimeoutError()


class Boards:
    """A board that is lost at the first three heartbeats, and one without units."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def controlled(self, *given: object) -> None:
        self.heard.append(given)
        match len(self.heard):
            case 1:
                raise ActorUnavailableError("it is being started anew", None)
            case 2:
                raise ValueError("Failed to look up actor")
            case 4:
                raise KeyboardInterrupt

    def lost(self, gang: str, fault: Fault) -> int:
        self.heard.append((gang, fault))
        return len(self.heard)

    def ended(self, gang: str) -> None:
        self.heard.append((gang,))


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> Boards:
    found = Boards()
    monkeypatch.setattr(BoardClient, "named", lambda _: found)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return found


def test_a_heartbeat_that_fails_is_not_the_last_one(boards: Boards) -> None:
    with pytest.raises(KeyboardInterrupt):
        Heartbeat("board", "gang-0", "run")._beat(b"me")
    assert boards.heard == [("gang-0", b"me", False)] * 4


def test_the_first_heartbeat_comes_before_the_controller_is_up(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stands still right after has been heard of."""
    boards.heard = [()] * 9
    threads: list[int] = []

    class Thread:
        def __init__(self, **_: object) -> None:
            threads.append(len(boards.heard))

        def start(self) -> None:
            """Not here."""

    context = SimpleNamespace(current_actor="me")
    monkeypatch.setattr(heartbeat.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(heartbeat.threading, "Thread", Thread)
    monkeypatch.setattr(heartbeat.worker_group, "placement_group", None)
    Heartbeat("board", "gang-0", "run").after_controller_start(None)
    assert threads == [10]


def test_a_heartbeat_says_when_the_gang_has_its_places(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come after a while; later they may be gone, for which Ray raises a plain Exception."""
    answers = [False, True]

    class Places:
        def wait(self, _: float) -> bool:
            if not answers:
                raise Exception("Placement group does not exist.")
            return answers.pop(0)

    monkeypatch.setattr(heartbeat, "placement_group", lambda *_, name: Places())
    beats = Heartbeat("board", "gang-0", "run")
    beats._named([{"CPU": 1}])
    with pytest.raises(KeyboardInterrupt):
        beats._beat(b"me")
    assert [placed for *_, placed in boards.heard] == [False, True, True, True]


def test_the_places_of_a_lost_gang_are_given_back_before_the_next_begins(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name of the run: nobody else may know them. Here the controller is lost, then a gang
    that got no places."""
    steps: list[str] = []
    ends: list[Exception | None] = [
        ActorDiedError(), VainError(), ActorDiedError(), None,
    ]  # fmt: skip

    def trainer(_name: str, run: str, *_: object) -> SimpleNamespace:
        def fit() -> None:
            steps.append(f"fit {run}")
            if error := ends.pop(0):
                raise error

        return SimpleNamespace(fit=fit)

    def known(run: str) -> str:
        if len(steps) > 4:
            raise ValueError("Failed to look up placement group")
        return run

    monkeypatch.setattr(gang, "_trainer", trainer)
    monkeypatch.setattr(gang, "get_placement_group", known)
    monkeypatch.setattr(gang, "remove_placement_group", lambda run: steps.append(f"free {run}"))
    given: Any = None
    gang.run_gang("gang-0", "board", given, GangSize(1, 1.0, 0.0), given, lambda: True)
    runs = [step.removeprefix("fit ") for step in steps if step.startswith("fit")]
    assert len({*runs}) == 4
    assert steps == [
        f"fit {runs[0]}", f"free {runs[0]}", f"fit {runs[1]}", f"free {runs[1]}",
        f"fit {runs[2]}", f"fit {runs[3]}",
    ]  # fmt: skip
    assert boards.heard[-1] == ("gang-0",)
