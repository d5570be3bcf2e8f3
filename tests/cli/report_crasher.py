"""Writes a report over another one again and again in forks, each killed later than the last."""

import os
import shutil
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

from tamt_ray.cli.report_mark import OF
from tamt_ray.cli.results import mark_report, write_report
from tamt_ray.cli.sweep_context import open_sweep
from tamt_ray.store.store import Store


def main(sweep: Path, whole: Path, base: Path) -> None:
    """`whole` holds the report's files, `base/before/` the store; leaves `base/<step>/` for every
    third step, of which a file has two: in the middle of it and behind its rename."""
    opened = open_sweep(sweep)
    paths = [path for path in whole.rglob("*") if path.is_file() and path.name != OF]
    files = {str(path.relative_to(whole)): path.read_bytes() for path in paths}
    for last in range(0, 10_000, 3):
        root = base / str(last)
        shutil.copytree(base / "before", root)
        child = os.fork()
        if child == 0:
            left = [last]

            def fsync(descriptor: int, left: list[int] = left) -> None:
                status = os.fstat(descriptor)
                if not left[0]:
                    if stat.S_ISREG(status.st_mode):
                        os.ftruncate(descriptor, status.st_size // 2)
                    os.kill(os.getpid(), signal.SIGKILL)
                # A kill takes nothing with it that was written, synced or not.
                left[0] -= 1

            os.fsync = fsync
            here = replace(opened, store=Store(str(root)))
            write_report(here, files)
            mark_report(here)
            os._exit(0)
        if os.WIFEXITED(status := os.waitpid(child, 0)[1]):
            sys.exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
