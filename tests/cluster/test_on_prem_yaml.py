"""cluster/on_prem.yaml: accepted by Ray, and safe. test_ray_up.py runs it."""

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

Tree = dict[str, Any]

ROOT = Path(__file__).parents[2]
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def config() -> Tree:
    text = (ROOT / "cluster" / "on_prem.yaml").read_text()
    return yaml.safe_load(text.replace("FILL-IN", "10.0.0.11", 1).replace("FILL-IN", "10.0.0.12"))


def test_ray_accepts_the_file_and_keeps_every_host(config: Tree) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    (kind,) = prepared["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == 1


def test_every_ray_command_demands_the_token(config: Tree) -> None:
    for key in STARTS:
        text = "\n".join(config[key])
        assert len(re.findall(r"\bray (?:start|stop)\b", text)) == 2
        assert len(re.findall(r"RAY_AUTH_MODE=token (?:\S+ )*?ray (?:start|stop)\b", text)) == 2
        assert "test -s ~/.ray/auth_token &&" in text
    assert config["setup_commands"][0] == "chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token"


def test_what_ray_writes_is_nobody_elses_to_read(config: Tree) -> None:
    for key in STARTS:
        starts = [command for command in config[key] if "ray start" in command]
        assert starts
        assert all(command.startswith("umask 077;") for command in starts)


def test_the_dashboard_stays_on_loopback_and_nothing_takes_root(config: Tree) -> None:
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    commands = [command for key in (*STARTS, "setup_commands") for command in config[key]]
    assert not any("sudo" in command for command in commands)
    for command in commands:
        check = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert check.returncode == 0, f"{command}: {check.stderr}"


@pytest.mark.parametrize(("listed", "installs"), [("a", False), ("b", True)])
def test_only_a_new_list_of_packages_is_installed(
    config: Tree, tmp_path: Path, listed: str, installs: bool
) -> None:
    """~/uv/bin/uv is a fake that notes down that it was called."""
    (install,) = [command for command in config["setup_commands"] if "pip install" in command]
    for folder in ("tamt_ray", "venv/bin", "uv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tamt_ray" / "pyproject.toml").write_text("a")
    (tmp_path / "venv" / "pyproject.toml").write_text(listed)
    uv = tmp_path / "uv" / "bin" / "uv"
    uv.write_text('#!/bin/sh\necho "$@" >> ~/called\n')
    uv.chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["bash", "-c", install], env=environment, check=True)
    called = tmp_path / "called"
    assert called.exists() is installs
    if installs:
        words = called.read_text()
        assert words.count("pip install") == 1
        assert f"-e {tmp_path}/tamt_ray[cluster] ray[default]==2.60.0" in words


MPS = """#!/bin/sh
# The daemon: started once, ended by `quit`.
if [ "$1" = -d ]; then
  test ! -e ~/daemon || { echo refused >> ~/calls; exit 1; }
  touch ~/daemon
  echo start >> ~/calls
else
  cat >> ~/calls
  rm ~/daemon
fi
"""


class GpuHost:
    """A host whose commands are fakes; Ray runs while its file `ray` is there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name, does in {
            "nvidia-cuda-mps-control": MPS,
            "pgrep": "#!/bin/sh\ntest -e ~/ray\n",
            "sleep": "#!/bin/sh\nexec /bin/sleep 0.02\n",
            "uname": "#!/bin/sh\necho host\n",
        }.items():
            (home / name).write_text(does)
            (home / name).chmod(0o755)
        (home / "ray").touch()

    def type(self, command: str) -> None:
        path = f"{self.home}:{os.environ['PATH']}"
        environment = {"HOME": str(self.home), "PATH": path}
        subprocess.run(["bash", "-c", command], env=environment, check=True, timeout=60)

    def said(self, *expected: str) -> bool:
        """Whether these calls come, and no others."""
        calls, until = self.home / "calls", time.monotonic() + 30
        while (said := calls.read_text().split() if calls.exists() else []) != [*expected]:
            if time.monotonic() > until or len(said) > len(expected):
                return False
            time.sleep(0.02)
        return True


@pytest.fixture
def host(tmp_path: Path) -> GpuHost:
    return GpuHost(tmp_path)


@pytest.fixture
def mps(config: Tree) -> str:
    """The command, which heads and workers share; others do not find what it starts."""
    starts = [[one for one in config[key] if "mps-control -d" in one] for key in STARTS]
    assert starts[0] == starts[1]
    (command,) = starts[0]
    assert command.startswith("umask 077;")
    return command


def test_mps_ends_with_ray(mps: str, host: GpuHost) -> None:
    host.type(mps)
    assert host.said("start")
    (host.home / "ray").unlink()
    assert host.said("start", "quit")


def test_another_ray_up_keeps_the_daemon_until_ray_ends(mps: str, host: GpuHost) -> None:
    for _ in range(2):
        host.type(mps)
    assert host.said("start")
    (host.home / "ray").unlink()
    assert host.said("start", "quit", "start", "quit")


def test_a_daemon_of_the_users_own_is_left_alone(mps: str, host: GpuHost) -> None:
    (host.home / "daemon").touch()
    (host.home / "ray").unlink()
    host.type(mps)
    assert host.said("refused")
    host.type("flock -w 30 ~/.tamt_mps.host true")  # Free once nothing follows.
    assert host.said("refused")


def test_a_host_without_mps_starts_all_the_same(mps: str, host: GpuHost) -> None:
    (host.home / "nvidia-cuda-mps-control").unlink()
    host.type(mps)
    assert [*host.home.glob(".tamt_mps*")] == []


def test_hosts_that_share_a_home_start_a_daemon_each(mps: str, host: GpuHost) -> None:
    for name in ("host", "other"):
        (host.home / "uname").write_text(f"#!/bin/sh\necho {name}\n")
        (host.home / "daemon").unlink(missing_ok=True)
        host.type(mps)
        assert host.said(*["start"] * (1 + (name == "other")))
    (host.home / "ray").unlink()
    for name in ("host", "other"):
        (host.home / "daemon").touch()
        host.type(f"flock -w 30 ~/.tamt_mps.{name} true")
