"""python -m benchmarks [NAME ...] [--json]"""

import argparse
import importlib
import subprocess
import sys

from tamt_ray.data.cache import SourceError

NAMES = (
    "search_step", "reranking", "memory", "finetune", "mask_file", "fleet", "plan", "board",
    "placement", "resume",
)  # fmt: skip
"""Modules of this package with a function `run() -> Iterator[Answer]`."""


def main() -> int:
    """Answer the questions asked for, or all; the number of benchmarks that broke down."""
    parser = argparse.ArgumentParser("benchmarks", description="How fast, beside whom.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", action="store_true", help="One JSON object a line.")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    if len(asked.names) != 1:
        return sum(_apart(name, asked.json) for name in asked.names or NAMES)
    try:
        for answer in importlib.import_module(f"benchmarks.{asked.names[0]}").run():
            sys.stdout.write(f"{answer.to_json() if asked.json else answer}\n")
            sys.stdout.flush()
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _apart(name: str, as_json: bool) -> bool:
    """Whether it broke down; in a process of its own, since what ran before must not count."""
    words = [sys.executable, "-m", "benchmarks", name, *(["--json"] if as_json else [])]
    return subprocess.run(words, check=False).returncode != 0


if __name__ == "__main__":
    sys.exit(main())
