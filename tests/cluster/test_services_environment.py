"""What the driver's environment says of sources holds on other nodes; GPUs are seen by those who
asked for one. The GPUs are only said to be there: Ray counts them and sets what CUDA obeys."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .services_ray import free_port, started, with_token

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_all_nodes_know_the_mirror_and_only_those_who_asked_see_a_gpu(tmp_path: Path) -> None:
    plain = with_token(tmp_path)
    del plain["HF_HUB_OFFLINE"]
    port = free_port()
    here = "--node-ip-address=127.0.0.1"
    head = (
        f"ray start --head {here} --port={port} --num-cpus=0 --num-gpus=2 --include-dashboard=false"
    )
    join = f"ray start {here} --address=127.0.0.1:{port} --num-cpus=2 --num-gpus=1"
    with started(head, tmp_path, plain), started(join, tmp_path, plain):
        driver = subprocess.run(
            [sys.executable, Path(__file__).with_name("services_seen.py"), f"127.0.0.1:{port}"],
            capture_output=True, text=True, timeout=400, check=False,
            env={**plain, "TAMT_MIRROR": "/mirror", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    assert driver.returncode == 0, driver.stderr
    told = {"TAMT_MIRROR": "/mirror", "HF_HUB_OFFLINE": "1"}
    assert json.loads(driver.stdout) == {
        "actor": {**told, "CUDA_VISIBLE_DEVICES": ""},
        "task": {**told, "CUDA_VISIBLE_DEVICES": ""},
        "gpu": {**told, "CUDA_VISIBLE_DEVICES": "0"},
    }
