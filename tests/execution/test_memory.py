"""What a step frees is there for the next one."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from tamt_ray.execution.worker.device import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for step in range(6):
    if step == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    large, small = torch.ones(25_000_000), [torch.ones(1_000_000) for _ in range(20)]
    del large, small
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator of its own")
def test_pages_are_not_cleared_anew_for_every_step() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", STEPS, how], text=True))
        for how in ("given back", "kept")
    }
    # Five steps of 180 MB, in pages of at most 64 KiB.
    assert faults["given back"] > 5 * 1_000
    assert 10 * faults["kept"] < faults["given back"]


HOLES = """
import ctypes, sys
from pathlib import Path
from tamt_ray.execution.worker.device import give_back_memory, keep_freed_memory

def held():
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * 4096 >> 20

keep_freed_memory()
before = held()
blocks = [bytearray(1 << 20) for _ in range(400)]
del blocks[:-1]  # The last one stands above the hole.
assert held() > before + 350, held()
assert not give_back_memory()
assert held() > before + 350, held()
assert give_back_memory(1 << 28)
assert held() < before + 50, held()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator of its own")
def test_holes_are_given_back_beyond_a_bound() -> None:
    subprocess.run([sys.executable, "-c", HOLES], check=True)
