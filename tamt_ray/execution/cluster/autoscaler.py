"""Nodes that can still come: which, and asking for them before they are needed."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.exceptions import RayActorError

from tamt_ray.execution.cluster.capacity_requests import Bundle, requests_of_cluster
from tamt_ray.execution.scheduler.board import Demand
from tamt_ray.execution.scheduler.placement import GangSize, Node, Slots, room_for
from tamt_ray.spec.execution import Execution, SearchLane

_LAUNCHED = "~/ray_bootstrap_config.yaml"
"""File on the head in which `ray up` leaves the limits of the cluster."""


def nodes_to_come(execution: Execution, address: str | None) -> list[Node]:
    """Return every node that an autoscaler may add, by the sweep, else by the file of `ray up`."""
    if execution.growth:
        return [
            {"CPU": kind.cpus, "GPU": kind.gpus}
            for kind in execution.growth
            for _ in range(kind.nodes)
        ]
    return _launcher_s(Path(os.path.expanduser(_LAUNCHED))) if address else []


def wanted(
    demand: Demand, lane: SearchLane, size: GangSize, slots: Slots, most: Sequence[Node]
) -> list[Bundle]:
    """Return the bundles of all running and ready work, one per process, at most what `most` hold.

    Searches come first: fine-tunes wait for them.
    """
    searches = len(demand.paths) + demand.at_work
    gangs = searches if lane.gangs == "auto" else min(searches, lane.gangs)
    # With `auto` a gang is wide only where room is left.
    workers = gangs * (1 if lane.gangs == "auto" else size.workers)
    workers = min(workers, room_for(size, most))
    places = Slots(0, slots.cpus, slots.gpus)
    places.resize(most)
    left = places.total - (workers * places.total) // max(1, room_for(size, most))
    return [
        *[_bundle(size.cpus, size.gpus)] * workers,
        *[_bundle(slots.cpus, slots.gpus)] * min(demand.tunes, left),
    ]


def describe_bundles(bundles: Sequence[Bundle]) -> str:
    """Return number and resources of the processes, in words."""
    kinds = Counter(tuple(bundle.items()) for bundle in bundles)
    return ", ".join(
        f"{count} × {' and '.join(f'{amount:g} {name}' for name, amount in kind)}"
        for kind, count in kinds.items()
    )


class Autoscaler:
    """The autoscaler of the cluster, if it has one."""

    def __init__(self, to_come: Sequence[Node], driver: str) -> None:
        """`to_come`: all that may be added; none on a cluster that stays as it is. `driver`: a
        name of the run."""
        self.to_come = to_come
        self._driver = driver
        self._asked: list[Bundle] = []
        self._requests: Any = None

    def request(self, bundles: list[Bundle]) -> bool:
        """Request room for all these bundles at once; return whether the request is new.

        To be called periodically: a request lapses without heartbeats of its driver. Ray replaces
        lost nodes, and removes idle ones that are not requested.
        """
        if not self.to_come:
            return False
        try:
            self._requests = self._requests or requests_of_cluster()
            ray.get(self._requests.ask.remote(self._driver, bundles))
        except RayActorError:
            # Its node is lost, or it ended after long without requests: the next call restarts it.
            self._requests = None
        news, self._asked = bundles != self._asked, bundles
        return news


def _launcher_s(path: Path) -> list[Node]:
    """Workers of a cluster that `ray up` started; none where there is no such file."""
    try:
        config: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        head = config.get("head_node_type")
        kinds = [kind for name, kind in config["available_node_types"].items() if name != head]
        return [
            {name: float(kind["resources"].get(name, 0)) for name in ("CPU", "GPU")}
            for kind in kinds
            for _ in range(int(kind.get("max_workers", config.get("max_workers", 0))))
        ]
    except (OSError, KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError):
        # Not a file of ours: then only present nodes count.
        return []


def _bundle(cpus: float, gpus: float) -> Bundle:
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
