"""Who can talk to the head that `cluster/gpu.yaml` starts: its own command, all that it opens.

It has a network of its own with one address beside loopback, as an instance has. As root, to make
that.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .services_ray import ROOT, environment

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a network of its own"),
    pytest.mark.timeout(900),
]

HOST = "10.9.8.7"
NETWORK = f"""
mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray && mount --bind /dev/null /etc/resolv.conf &&
ip link set lo up && ip link add node type veth peer name outside && ip link set outside up &&
ip address add {HOST}/24 dev node && ip link set node up && ip route add default dev node
"""


def head_command() -> str:
    """What gpu.yaml starts the head with."""
    config = yaml.safe_load((ROOT / "cluster" / "gpu.yaml").read_text())
    [command] = [line for line in config["head_start_ray_commands"] if "ray start --head" in line]
    return command


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `services_knock.py` saw beside the head."""
    folder = tmp_path_factory.mktemp("head")
    home, marks = folder / "home", folder / "marks"
    (home / ".ray").mkdir(parents=True)
    marks.mkdir()
    token = home / ".ray" / "auth_token"
    token.touch(mode=0o600)
    token.write_text("0123456789abcdef" * 4)
    (home / "ray_bootstrap_config.yaml").write_text((ROOT / "cluster" / "gpu.yaml").read_text())
    knock = Path(__file__).with_name("services_knock.py")
    script = f"""{NETWORK}
{head_command()} || exit 3
{sys.executable} {knock} {HOST} {token} {marks} > {folder}/seen.json
"""
    said = folder / "said.txt"
    with said.open("w") as stream:
        # The first process of a pid namespace takes all others with it.
        head = subprocess.Popen(
            ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-c", script],
            env=environment(HOME=str(home)), stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        head.wait(800)
    finally:
        head.kill()
        head.wait()
    assert head.returncode == 0, said.read_text()
    return json.loads((folder / "seen.json").read_text())


def test_pages_and_jobs_are_on_loopback_only(seen: dict[str, Any]) -> None:
    """8265 is the dashboard, by which `ray job submit` works too."""
    assert [host for host, port, _ in seen["places"] if port == 8265] == ["127.0.0.1"]


def test_everything_else_asks_for_the_token(seen: dict[str, Any]) -> None:
    """Except for numbers: Ray's metrics are plain pages for Prometheus, without names of files, of
    sweeps or of people, and nothing can be done with them."""
    assert {"6379": "token"}.items() <= seen["exposed"].items()
    assert set(seen["exposed"].values()) <= {"token", "metrics"}, seen["exposed"]


def test_a_job_needs_the_token(seen: dict[str, Any]) -> None:
    assert seen["jobs"] == {"stranger": 401, "wrong": 403, "owner": 200}
    assert seen["ran"] == ["owner"], "and no job of the others has run"
