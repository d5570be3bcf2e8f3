"""python -m benchmarks [NAME ...] [--device cpu|cuda] [--json]"""

import argparse
import importlib
import subprocess
import sys

import torch

from benchmarks.answer import HEADING
from benchmarks.device import Device
from tamt_ray.data.cache import SourceError

ON_GPU = ("search_step", "reranking", "memory", "finetune", "side_by_side")
"""Modules of this package with a function `run(device) -> Iterator[Answer]`."""
ON_HOST = ("mask_file", "fleet", "plan", "board", "placement", "resume")
"""Modules with a function `run() -> Iterator[Answer]`, which no GPU takes part in."""


def main(words: list[str] | None = None) -> int:
    """Answer the questions asked for, or all; the number of benchmarks that broke down."""
    parser = argparse.ArgumentParser("benchmarks", description="How fast, beside whom.")
    names = ", ".join([*ON_GPU, *ON_HOST])
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--toy", action="store_true", help="What a GPU computes, at a size for tests."
    )
    parser.add_argument("--json", action="store_true", help="One JSON object a line.")
    asked = parser.parse_args(words)
    device = Device(asked.device, asked.toy)
    known = ON_GPU if device.gpu else (*ON_GPU[:-1], *ON_HOST)
    unknown = sorted(set(asked.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r} on this device; there are {', '.join(known)}")
    if device.cuda and not torch.cuda.is_available():
        parser.error("no GPU works here; on a CPU, --toy computes the same at a size for tests")
    if len(asked.names) != 1:
        return sum(_apart(name, asked) for name in asked.names or known)
    (name,) = asked.names
    given = (device,) if name in ON_GPU else ()
    try:
        if not asked.json:
            sys.stdout.write(f"{HEADING}\n")
        for answer in importlib.import_module(f"benchmarks.{name}").run(*given):
            sys.stdout.write(f"{answer.to_json() if asked.json else answer}\n")
            sys.stdout.flush()
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _apart(name: str, asked: argparse.Namespace) -> bool:
    """Whether it broke down; in a process of its own, since what ran before must not count."""
    words = [sys.executable, "-m", "benchmarks", name, "--device", asked.device]
    words += ["--json"] * asked.json + ["--toy"] * asked.toy
    return subprocess.run(words, check=False).returncode != 0


if __name__ == "__main__":
    sys.exit(main())
