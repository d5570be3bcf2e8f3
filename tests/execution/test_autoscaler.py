"""Nodes that can still come: which there are, and how many are asked for."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tamt_ray.execution.cluster import autoscaler
from tamt_ray.execution.cluster import capacity_requests as requests
from tamt_ray.execution.cluster.autoscaler import (
    Autoscaler,
    describe_bundles,
    nodes_to_come,
    wanted,
)
from tamt_ray.execution.cluster.capacity_requests import Requests
from tamt_ray.execution.scheduler.board import Demand
from tamt_ray.execution.scheduler.placement import GangSize, Node, Slots
from tamt_ray.spec.execution import Execution, SearchLane

EIGHT: list[Node] = [{"CPU": 8.0, "GPU": 1.0}] * 8
GANG, TUNE = {"CPU": 4, "GPU": 1}, {"CPU": 1, "GPU": 0.25}


def asked(demand: Demand, gangs: object, workers: int = 1) -> tuple[int, int]:
    """Bundles of searches and of fine-tunes, on eight nodes at most."""
    lane = SearchLane.model_validate({"gangs": gangs, "workers": workers})
    bundles = wanted(demand, lane, GangSize(workers, 4, 1), Slots(0, 1, 0.25), EIGHT)
    assert all(bundle in (GANG, TUNE) for bundle in bundles)
    return bundles.count(GANG), bundles.count(TUNE)


def test_what_is_asked_for() -> None:
    """A search takes a node's GPU, and so the places of four fine-tunes."""
    assert asked(Demand((), 0, 0.0), "auto") == (0, 0)
    assert asked(Demand((9.0, 8.0), 1, 99.0), "auto") == (3, 0)
    assert asked(Demand((9.0, 8.0), 1, 99.0, tunes=7), "auto") == (3, 7)
    assert asked(Demand((9.0, 8.0), 1, 99.0, tunes=500), "auto") == (3, 20)
    assert asked(Demand((1.0,) * 50, 0, 99.0, tunes=500), "auto") == (8, 0)
    assert asked(Demand((1.0,) * 50, 0, 99.0, tunes=500), 1, workers=4) == (4, 16)
    assert asked(Demand((1.0,) * 50, 1, 99.0, tunes=2), 3, workers=2) == (6, 2)
    assert asked(Demand((), 0, 9.0, tunes=500), "auto") == (0, 32)


class Ray:
    """Calls of an actor, made at once."""

    def __init__(self, actor: Requests) -> None:
        self.ask = SimpleNamespace(remote=actor.ask)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    """What Ray was asked for."""
    told: list[list[dict[str, float]]] = []
    monkeypatch.setattr(requests, "request_resources", lambda bundles: told.append(bundles))
    return told


def test_ray_is_told_of_news_only(
    monkeypatch: pytest.MonkeyPatch, told: list[list[dict[str, float]]]
) -> None:
    actor = Requests(patience=1e6)
    monkeypatch.setattr(autoscaler, "requests_of_cluster", lambda: Ray(actor))
    monkeypatch.setattr(autoscaler.ray, "get", lambda answer: answer)
    asking = Autoscaler(EIGHT, "run")
    assert not asking.request([])
    assert asking.request([TUNE, TUNE])
    assert not asking.request([TUNE, TUNE])
    assert asking.request([])
    assert told == [[], [TUNE, TUNE], []], "the first one undoes what others may have left"
    assert not Autoscaler([], "run").request([TUNE]), "nobody would add a node"
    assert describe_bundles([GANG, TUNE, TUNE]) == "1 × 4 CPU and 1 GPU, 2 × 1 CPU and 0.25 GPU"


def test_what_a_killed_driver_asked_for_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, told: list[list[dict[str, float]]]
) -> None:
    left = threading.Event()

    def leave(_: int) -> None:
        left.set()
        threading.Event().wait()

    monkeypatch.setattr(requests.os, "_exit", leave)
    actor = Requests(patience=1.0)
    actor.ask("killed", [GANG])
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        actor.ask("alive", [TUNE])
        time.sleep(0.05)
    assert told == [[GANG], [GANG, TUNE], [TUNE]]
    assert not left.is_set()
    assert left.wait(30), "once nobody asks any more the actor ends"
    assert told[-1] == []


def test_what_may_come_is_what_the_sweep_says() -> None:
    growth = [{"nodes": 2, "cpus": 8, "gpus": 1}, {"nodes": 1, "cpus": 64}]
    execution = Execution.model_validate({"growth": growth})
    assert nodes_to_come(execution, "auto") == [
        {"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}, {"CPU": 64, "GPU": 0},
    ]  # fmt: skip


def test_else_what_ray_up_was_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file that Ray's launcher leaves on the head; on this machine's own Ray nothing comes."""
    written = yaml.safe_load((Path(__file__).parents[2] / "cluster" / "gpu.yaml").read_text())
    launched = tmp_path / "ray_bootstrap_config.yaml"
    launched.write_text(yaml.safe_dump(written))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert nodes_to_come(Execution(), "auto") == EIGHT
    assert nodes_to_come(Execution(), None) == []
    for broken in ("", "[1, 2]", "available_node_types: {a: {max_workers: 2}}", "{"):
        launched.write_text(broken)
        assert nodes_to_come(Execution(), "auto") == []
    launched.unlink()
    assert nodes_to_come(Execution(), "auto") == []
