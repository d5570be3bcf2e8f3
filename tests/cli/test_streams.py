"""Standard streams that end before the run does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHATTER = """
import ctypes, subprocess, sys
from tamt_ray.cli.streams import forgive_output, open_closed_streams
open_closed_streams()
forgive_output()
for number in range(100_000):
    print("out", number)
    print("err", number, file=sys.stderr)
    if number % 10_000 == 0:
        ctypes.CDLL(None).write(1, b"C", 1)  # C code that ignores errors
subprocess.run(["echo", "child"], check=True)
open("done", "w").write("yes")
sys.exit(7)
"""


@pytest.mark.parametrize("to", ["2>&1 | head -2", ">/dev/full 2>&1", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_process_goes_on_without_its_streams(to: str, tmp_path: Path) -> None:
    """The reader goes away, the disk is full, or there is no stream from the beginning."""
    line = f'("$PYTHON" -c "$CHATTER"; echo $? > code) {to}'
    said = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env={**os.environ, "PYTHON": sys.executable,
        "CHATTER": CHATTER}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (tmp_path / "done").read_text() == "yes", said.stderr
    assert (tmp_path / "code").read_text() == "7\n"
    assert said.stderr == ""


def test_what_is_taken_arrives(tmp_path: Path) -> None:
    """In order, what C code writes among it, and what no terminal can show as an escape."""
    script = CHATTER.replace("100_000", "2").replace('"out"', "chr(0x2026)")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 7
    assert done.stdout == "\\u2026 0\nC\\u2026 1\nchild\n"


@pytest.mark.parametrize("to", [">&- 2>&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_every_verb_starts_without_streams(to: str, file: Path) -> None:
    code = "from tamt_ray.cli.entry import main; main()"
    for words in ("status --json", "run --dry-run"):
        verb, option = words.split()
        line = f'"$PYTHON" -c "{code}" {verb} "$FILE" {option} {to}'
        done = subprocess.run(
            ["sh", "-c", line], env={**os.environ, "PYTHON": sys.executable, "FILE": str(file)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
