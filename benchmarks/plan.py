"""How long it takes to plan a sweep, and what a plan of a million units weighs.

`python -m benchmarks.plan` alone plans the million and says so in JSON: in a process of its own,
whose peak is that of nothing else.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.answer import Answer, at_most
from benchmarks.clock import interleave
from benchmarks.grid import main_results, million
from tamt_ray.plan.expand import expand


def run() -> Iterator[Answer]:
    """Seconds for `main_results`; seconds and GiB for a million units."""
    sweep = main_results()
    units = len(expand(sweep).units)
    times = interleave({"plan": lambda: expand(sweep)}, rounds=5)
    yield at_most(f"plan of main_results ({units:,} units)", times.median("plan"), 1, "s")
    alone = subprocess.run(
        [sys.executable, "-m", "benchmarks.plan"], check=True, capture_output=True, text=True
    )
    measured = json.loads(alone.stdout)
    which = f"plan of {measured['units']:,} units"
    yield at_most(which, measured["seconds"], 60, "s")
    yield at_most(f"{which}: peak memory of its process", measured["gib"], 4, "GiB")


def _alone() -> None:
    sweep = million()
    begin = time.perf_counter()
    units = len(expand(sweep).units)
    seconds = time.perf_counter() - begin
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(json.dumps({"units": units, "seconds": seconds, "gib": gib}))


if __name__ == "__main__":
    _alone()
