"""A cluster without a node for units, which an autoscaler adds: the one thing that is not real is
where the machines come from (Ray's own fake provider starts them on this one)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FakeMultiNodeProvider,
)

from .services_ray import free_port, started, with_token
from .toy import write_toy

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

WORKERS = 2
PROVIDER: dict[str, Any] = {
    "cluster_name": "grows", "max_workers": WORKERS, "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.2, "auth": {}, "head_node_type": "ray.head.default",
    "provider": {
        "type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": WORKERS,
        },
    },
    "file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False,
    "rsync_exclude": [], "rsync_filter": [], "initialization_commands": [], "setup_commands": [],
    "head_setup_commands": [], "worker_setup_commands": [], "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}  # fmt: skip


VERSIONS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "v1": ({}, {"RAY_enable_autoscaler_v2": "0"}),
    "v2": (
        {
            # As `fake_multinode` it would need a file that Ray's wheel has not got.
            "type": "external",
            "module": f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}",
            "launch_multiple": True, "head_node_id": FAKE_HEAD_NODE_ID,
        },
        {
            "RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        },
    ),
}  # fmt: skip
"""What the fake provider and the head's environment have more, by version of the autoscaler."""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sweep_begins_with_no_worker_and_the_cluster_grows(
    tmp_path: Path, model_dir: Path, version: str
) -> None:
    """The head has no CPU, as in both cloud files. Two nodes are asked for and come; with them all
    seventeen units are done; nobody asks for them afterwards. `ray up` on ssh hosts has the
    autoscaler's first version, KubeRay and the clouds the second."""
    more, of_version = VERSIONS[version]
    shared, sweep = tmp_path / "shared", tmp_path / "toy.yaml"
    shared.mkdir()
    write_toy(sweep, shared, shared, model_dir)
    written = yaml.safe_load(sweep.read_text())
    written["mlflow"] = f"sqlite:///{tmp_path / 'mlflow.db'}"
    written["execution"] = {
        "search": {"gangs": "auto"}, "growth": [{"nodes": WORKERS, "cpus": 1}],
    }  # fmt: skip
    sweep.write_text(yaml.safe_dump(written))
    port = free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    config = tmp_path / "cluster.json"
    provider = {**PROVIDER["provider"], "gcs_address": address, **more}
    config.write_text(json.dumps({**PROVIDER, "provider": provider}))
    env = with_token(tmp_path) | {
        "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "TAMT_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    head = (
        f"ray start --head --port={port} --num-cpus=0 --num-gpus=0 --include-dashboard=false "
        f"--autoscaling-config={config}"
    )
    with started(head, tmp_path, env | of_version):
        done = subprocess.run(
            [sys.executable, "-m", "tamt_ray.sweep", str(sweep), "--address", address],
            env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "no node for units is up; waiting for the autoscaler to add 2 × 1 CPU" in said
        # The head is one of them.
        assert "0 CPUs, 0 GPUs; 1 CPUs, 0 GPUs; 1 CPUs, 0 GPUs" in said or said.count("1 CPUs") > 2
        assert said.count("\ndone ") == 17, said
