"""AWS's notice that it takes a spot instance away, passed on to Ray.

`python -m tamt_ray.execution.cluster.spot --address HEAD:6379` runs beside the worker on each spot
instance. Two minutes before the end Ray drains the node: searches there save their states and move,
fine-tunes may finish, nothing new begins.
"""

import argparse
import json
import logging
import time
from datetime import datetime
from typing import Any

import requests
from ray import _raylet
from ray.core.generated import autoscaler_pb2, gcs_pb2

# Compiled, and without types of their own.
_RAY: Any = _raylet
_GCS: Any = gcs_pb2
_AUTOSCALER: Any = autoscaler_pb2

LOG = logging.getLogger(__name__)
SERVICE = "http://169.254.169.254/latest"
EVERY = 5.0
"""Seconds between two looks, as AWS advises."""


class DrainError(RuntimeError):
    """Ray does not know the node, or refuses to drain it."""


class Metadata:
    """The instance metadata service, version 2. Raises requests.RequestException where it does not
    answer."""

    def __init__(self, service: str = SERVICE) -> None:
        self._service = service
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy would answer for another machine

    def read(self, name: str) -> str | None:
        """Return the service's value for this name of `meta-data`; None while there is none."""
        answer = self._get(name)
        if answer.status_code == 401:  # no token yet, or an expired one
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            given = self._session.put(f"{self._service}/api/token", headers=lifetime, timeout=5)
            given.raise_for_status()
            self._session.headers["X-aws-ec2-metadata-token"] = given.text
            answer = self._get(name)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.text

    def _get(self, name: str) -> requests.Response:
        return self._session.get(f"{self._service}/meta-data/{name}", timeout=5)


def await_notice(metadata: Metadata, every: float = EVERY) -> datetime:
    """Wait for AWS's notice; return the time at which this instance will be gone."""
    while (notice := metadata.read("spot/instance-action")) is None:
        time.sleep(every)
    LOG.warning("AWS takes this instance away: %s", notice)
    return datetime.fromisoformat(json.loads(notice)["time"])


def drain(address: str, host: str, until: datetime) -> None:
    """Drain Ray's nodes on this host, by its IP address; they are gone at `until`.
    `address` is that of the head. Raises DrainError."""
    gcs = _RAY.GcsClient(address=address)
    alive = _GCS.GcsNodeInfo.GcsNodeState.ALIVE
    known = gcs.get_all_node_info(timeout=30, state_filter=alive).values()
    nodes = [node.node_id.hex() for node in known if node.node_manager_address == host]
    if not nodes:
        raise DrainError(f"Ray at {address} knows no node on {host}")
    reason = _AUTOSCALER.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    for node in nodes:
        end = int(until.timestamp() * 1000)
        accepted, message = gcs.drain_node(node, reason, "AWS takes the spot instance away", end)
        if not accepted:
            raise DrainError(f"Ray does not drain {node}: {message}")


def main() -> None:
    """Wait for the notice and drain the node."""
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--address", required=True, help="of the head, as HOST:PORT")
    address: str = parser.parse_args().address
    metadata = Metadata()
    host = metadata.read("local-ipv4")
    if host is None:
        raise DrainError("the metadata service does not know the address of this instance")
    drain(address, host, await_notice(metadata))


if __name__ == "__main__":
    main()
