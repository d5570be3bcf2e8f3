"""A process that stands still ends; one that goes on, or is done, does not."""

import subprocess
import sys

import pytest

BODY = """
import ctypes, time
from tamt_ray.execution.worker.watchdog import watched_over

with watched_over(1.0) as alive:
    {body}
time.sleep(1.5)
print("went on")
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    code = BODY.format(body=body)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "hang",
    ["time.sleep(1000)", "ctypes.PyDLL(None).sleep(1000)", "while True: pass"],
    ids=["asleep", "holding Python's lock", "busy"],
)
def test_a_process_that_stands_still_ends_and_says_where(hang: str) -> None:
    ran = run(hang)
    assert ran.returncode == 1
    assert "went on" not in ran.stdout
    assert "Timeout (0:00:01)!" in ran.stderr
    assert "line 6 in <module>" in ran.stderr


@pytest.mark.parametrize(
    "work", ["pass", "[(time.sleep(0.5), alive(number, 5)) for number in range(5)]"]
)
def test_one_that_goes_on_is_left_alone(work: str) -> None:
    """Neither what is done nor what takes longer than that step by step."""
    ran = run(work)
    assert (ran.returncode, ran.stdout) == (0, "went on\n"), ran.stderr
