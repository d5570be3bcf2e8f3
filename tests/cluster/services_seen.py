"""As a driver: what processes of a cluster see of the environment, as one JSON object."""

import json
import os
import sys

import ray

from tamt_ray.execution.actors import on_head
from tamt_ray.execution.cluster.connection import connected

NAMES = ("TAMT_MIRROR", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES")


def seen() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in NAMES}


class Actor:
    def seen(self) -> dict[str, str | None]:
        return seen()


def main(address: str) -> None:
    with connected(address):
        actor = on_head(Actor, "seen").remote()
        task = ray.remote(num_cpus=1)(seen)
        with_gpu = ray.remote(num_cpus=1, num_gpus=1)(seen)
        answers = ray.get([actor.seen.remote(), task.remote(), with_gpu.remote()], timeout=240)
    print(json.dumps(dict(zip(("actor", "task", "gpu"), answers, strict=True))))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
