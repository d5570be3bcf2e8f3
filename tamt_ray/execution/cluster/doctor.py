"""Check of a cluster before a sweep: its fitness is known before money is spent."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tamt_ray.execution.cluster.checkup import NodeReport, Probe, check_node, devices
from tamt_ray.execution.cluster.connection import connected
from tamt_ray.execution.cluster.diagnosis import (
    Checked,
    about_devices,
    about_disks,
    about_exchange,
    about_mps,
    about_nodes,
    about_rows,
    about_sources,
    about_store,
    about_versions,
    silent,
)
from tamt_ray.execution.gang.allreduce import ExchangeError, exchange
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.execution.worker.mps import mps_trouble
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.files import Files
from tamt_ray.tracking.reach import reach
from tamt_ray.tracking.trouble import TrackingError

_PATIENCE = 180.0
"""Seconds for one question to all nodes; a first process on a node takes a while to start."""
_DRIVER = "driver"


@dataclass(frozen=True)
class Respondent:
    """A node of the cluster that is asked."""

    id: str
    name: str
    gpus: int
    works: bool
    """True where it has CPUs for units."""


def examine(
    address: str | None, sweep: Sweep | None, on_finding: Callable[[Checked], None]
) -> list[Checked]:
    """Return everything found, each passed to `on_finding` at once. Store, MLflow and sources are
    those of `sweep`. Raises ClusterError."""
    findings: list[Checked] = []

    def found(*new: Checked) -> None:
        findings.extend(new)
        for one in new:
            on_finding(one)

    with connected(address):
        members = _members()
        found(about_nodes({m.name: m.works for m in members}, local=address is None), _token())
        with _beacon(sweep, found) as probe:
            own, inherited = check_node(_DRIVER, None, sweep), Inherited.of_this_process()
            answers, missing = _query(
                [
                    (m, check_node, (m.id[:8], probe, sweep if m.works else None, inherited), 0)
                    for m in members
                ]
            )
        found(*silent(missing, _PATIENCE))
        everyone: dict[str, NodeReport] = {_DRIVER: own, **answers}
        found(about_versions({name: one.versions for name, one in everyone.items()}))
        if probe and answers:
            found(*about_store(probe.store, {n: one.store for n, one in answers.items()}))
        if sweep:
            found(*about_sources(everyone), about_rows(sweep), _mlflow(sweep))
        found(*about_disks({name: one.free for name, one in everyone.items()}))
        found(*_devices(members, mps=bool(sweep) and sweep.execution.finetune.share == "mps"))
        reached = [member for member in members if member.name in answers]
        if reached:
            found(_exchange(reached))
    return findings


def _members() -> list[Respondent]:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    addresses = [node["NodeManagerAddress"] for node in nodes]

    def named(node: Mapping[str, Any]) -> str:
        place = str(node["NodeManagerAddress"])
        return place if addresses.count(place) == 1 else f"{place} [{node['NodeID'][:6]}]"

    return [
        Respondent(
            node["NodeID"],
            named(node),
            int(node["Resources"].get("GPU", 0)),
            node["Resources"].get("CPU", 0) > 0,
        )
        for node in nodes
    ]


_KNOCK = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)
"""
"""A connection that anybody on the network with Ray installed could try."""


def _token() -> Checked:
    """Knocks without the token, as a process of its own: this one has shown its token."""
    address = ray.get_runtime_context().gcs_address
    without = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_TOKEN")}
    knock = subprocess.run(
        [sys.executable, "-c", _KNOCK, address],
        env={**without, "RAY_AUTH_MODE": "disabled"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if knock.returncode == 0:
        return Checked(
            "token", "cluster", False, f"{address} lets in whoever reaches it, and runs their code",
            "start every node with RAY_AUTH_MODE=token and the same token file "
            "(`ray get-auth-token --generate`)",
        )  # fmt: skip
    if "AuthenticationError" in knock.stderr:
        return Checked("token", "cluster", True, f"{address} refuses a client without the token")
    said = knock.stderr.strip().splitlines()[-1:] or ["no words"]
    return Checked(
        "token", "cluster", False, f"a client without the token is not answered: {said[0][:200]}",
        f"look whether {address} can be reached from here",
    )  # fmt: skip


@contextmanager
def _beacon(sweep: Sweep | None, found: Callable[[Checked], None]) -> Generator[Probe | None]:
    """Yield a file in the store for every node to find; None where the driver cannot write."""
    if sweep is None:
        yield None
        return
    try:
        files = Files(sweep.store)
        probe = Probe(files.uri, f"doctor/{uuid.uuid4().hex}.probe", uuid.uuid4().bytes)
        files.write(probe.name, probe.content)
    except (OSError, ValueError) as error:
        found(*about_store(sweep.store, {_DRIVER: str(error)}))
        yield None
        return
    try:
        yield probe
    finally:
        files.remove(probe.name)


_Question = tuple[Respondent, Callable[..., Any], tuple[Any, ...], int]
"""A node, a function, its arguments, and the GPUs it needs."""


def _query(questions: Sequence[_Question]) -> tuple[dict[str, Any], dict[str, str]]:
    """NodeReport by the nodes' names, and why there is none of some."""
    asked: dict[Any, str] = {}
    for member, question, arguments, gpus in questions:
        there: Any = NodeAffinitySchedulingStrategy(member.id, soft=False)
        task = ray.remote(num_cpus=0, num_gpus=gpus, max_retries=0, scheduling_strategy=there)(
            question
        )
        asked[task.remote(*arguments)] = member.name
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE)
    answers: dict[str, Any] = {}
    missing = {asked[one]: "" for one in late}
    for one in late:
        ray.cancel(one, force=True)
    for one in done:
        try:
            answers[asked[one]] = ray.get(one)
        except RayError as error:
            missing[asked[one]] = " ".join(str(error).split())[-300:]
    return answers, missing


def _mlflow(sweep: Sweep) -> Checked:
    try:
        return Checked("mlflow", _DRIVER, True, reach(sweep))
    except TrackingError as error:
        return Checked(
            "mlflow", _DRIVER, False, str(error),
            "results are safe without it; start the server, correct `mlflow:`, or set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; `tamt sync-mlflow` sends "
            "later what it missed",
        )  # fmt: skip


def _devices(members: Sequence[Respondent], *, mps: bool) -> list[Checked]:
    """Torch sees GPUs only in a process that was given them: one that asks for all of a node."""
    with_gpus = [member for member in members if member.gpus]
    if not with_gpus:
        return [Checked("gpus", "cluster", True, "there are none; the sweep runs on CPUs")]
    seen, missing = _query([(member, devices, (), member.gpus) for member in with_gpus])
    found = about_devices({member.name: member.gpus for member in with_gpus}, seen, missing)
    if mps:
        found += about_mps(_query([(member, mps_trouble, (), 0) for member in with_gpus])[0])
    return found


def _exchange(members: Sequence[Respondent]) -> Checked:
    """Among all GPUs, else one process a node, and two where there is one node only."""
    gpus = [member.id for member in members for _ in range(member.gpus)]
    places = gpus or [member.id for member in members] * (2 if len(members) == 1 else 1)
    try:
        return about_exchange(exchange(places, bool(gpus), _PATIENCE))
    except (ExchangeError, TimeoutError) as error:
        return about_exchange(error, gpus=bool(gpus))
