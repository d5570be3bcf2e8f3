"""The spot notice, from a metadata service of ours on loopback."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import ray
from ray._private.state import state
from ray.cluster_utils import Cluster

from tamt_ray.execution.cluster.spot import DrainError, Metadata, await_notice, drain


class Service(ThreadingHTTPServer):
    """A metadata service that, as AWS's second version does, answers to nobody without a token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}/latest"
        self.holds = {"local-ipv4": "10.0.0.7"}
        self.valid = ""
        self.tokens = 0
        self.asked = 0


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_PUT(self) -> None:
        asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        if self.path != "/latest/api/token" or not asked:
            return self.answer(400)
        self.server.tokens += 1
        self.server.valid = f"token-{self.server.tokens}"
        return self.answer(200, self.server.valid)

    def do_GET(self) -> None:
        if not self.server.valid or (
            self.headers.get("X-aws-ec2-metadata-token") != self.server.valid
        ):
            return self.answer(401)
        self.server.asked += 1
        held = self.server.holds.get(self.path.removeprefix("/latest/meta-data/"))
        return self.answer(404) if held is None else self.answer(200, held)

    def answer(self, code: int, text: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
        yield service
        service.shutdown()


def notify(service: Service, when: datetime) -> None:
    notice = {"action": "terminate", "time": when.strftime("%Y-%m-%dT%H:%M:%SZ")}
    service.holds["spot/instance-action"] = json.dumps(notice)


def test_a_notice_is_seen_once_it_is_there(service: Service) -> None:
    when = datetime(2026, 9, 18, 8, 22, tzinfo=UTC)

    def notify_later() -> None:
        """Only who asks again hears of it."""
        wait_for(lambda: service.asked > 1)
        notify(service, when)

    threading.Thread(target=notify_later).start()
    assert await_notice(Metadata(service.url), every=0.01) == when
    assert service.tokens == 1, "one token for all questions"


def test_an_expired_token_is_replaced(service: Service) -> None:
    metadata = Metadata(service.url)
    assert metadata.read("local-ipv4") == "10.0.0.7"
    service.valid = "another"
    assert metadata.read("local-ipv4") == "10.0.0.7"
    assert service.tokens == 2


def test_no_proxy_stands_in_between(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert Metadata(service.url).read("spot/instance-action") is None


@pytest.mark.cluster
def test_ray_drains_the_node_until_the_time_told() -> None:
    """A real Ray of one node. It is at work: an idle node goes at once."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        work = ray.remote(lambda: time.sleep(300)).remote()
        wait_for(lambda: not ray.available_resources().get("CPU"))
        until = datetime.now(UTC) + timedelta(seconds=100)
        with pytest.raises(DrainError, match="no node on"):
            drain(cluster.address, "10.0.0.7", until)
        assert state.get_draining_nodes() == {}
        (node,) = ray.nodes()
        drain(cluster.address, node["NodeManagerAddress"], until)
        told = {node["NodeID"]: int(until.timestamp() * 1000)}
        wait_for(lambda: state.get_draining_nodes() == told)
        del work
    finally:
        ray.shutdown()
        cluster.shutdown()


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until, state.get_draining_nodes()
        time.sleep(0.1)
