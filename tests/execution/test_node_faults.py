"""Nodes that are lost, with and without a notice."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from benchmarks.chaos import processes
from tamt_ray.plan.expand import expand
from tamt_ray.spec.sweep import Sweep
from tamt_ray.store.store import Store

pytestmark = pytest.mark.faults

Toy = dict[str, Any]
StartDriver = Any
"""The fixture's own class, of `conftest`."""
Node = Any
"""Ray has no public name for it."""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Only a head, that does no units. Workers write their logs to `tmp_path`."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_work_moves_from_nodes_that_go(
    toy: Toy, start_driver: StartDriver, cluster: Cluster, tmp_path: Path
) -> None:
    """A search is at work on one node, fine-tunes are on two others. The search's node gets the
    notice of its preemption, and is gone when the time is up; one of the others goes without any
    notice. The state was saved in time, and all is done on the node that is left."""
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    cluster.wait_for_nodes()
    toy["methods"] = [{"method": "tamt_mlm", "steps": 3000}]
    toy["search"] |= {"decay_steps": 3000, "log_every": 1000}
    toy["finetune_seeds"] = list(range(4))
    toy["tasks"]["words"]["epochs"] = 30
    toy["execution"] = {"retries": 0}
    store = Path(str(toy["store"]))
    driver = start_driver(toy, "--address", cluster.address)

    def node_of(kind: str) -> Node:
        """A node that a process of this kind runs on."""
        for node in nodes:
            raylet = node.all_processes["raylet"][0].process.pid
            if any(process.kind == kind for process in processes(raylet)):
                return node
        return None

    def searched() -> bool:
        return any(b" search " in path.read_bytes() for path in tmp_path.glob("tamt-log-*"))

    driver.wait_for(lambda: searched() and any(store.glob("logs/finetune/*/*")))
    time.sleep(2)
    searching = node_of("gang rank")
    drain(cluster, searching.node_id, seconds=20)
    driver.wait_for(lambda: any(store.glob("states/*/*.safetensors")), seconds=20)
    [state] = store.glob("states/*/*.safetensors")
    assert 0 < int(state.name.split("-")[0]) < 3000
    nodes.remove(searching)
    driver.wait_for(lambda: node_of("fine-tune worker"))
    lost = node_of("fine-tune worker")
    nodes.remove(lost)
    cluster.remove_node(lost, allow_graceful=False)
    cluster.remove_node(searching, allow_graceful=False)
    assert driver.end() == 0, driver.said

    plan = expand(Sweep.model_validate(toy))
    done = Store(str(store)).done(plan.units)
    assert done.keys() == plan.units.keys()
    assert "its node was lost or is about to be" in driver.said
    last = driver.said.rpartition("the cluster is now: ")[2].partition("\n")[0]
    assert sorted(last.split("; ")) == ["0 CPUs, 0 GPUs", "1 CPUs, 0 GPUs"]


def drain(cluster: Cluster, node: str, seconds: float) -> None:
    """What a cloud's notice of preemption becomes in Ray."""
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    until = int((time.time() + seconds) * 1000)
    accepted, message = GcsClient(address=cluster.address).drain_node(node, reason, "spot", until)
    assert accepted, message
