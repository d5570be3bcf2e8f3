"""Packages with plug-ins, installed into a folder of their own for one process."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def declare(folder: Path, name: str, entries: Mapping[str, Mapping[str, str]]) -> None:
    """Make what lies in `folder` a package: its entry points by group and name."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        line
        for group, named in entries.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in named.items()), "")
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


def install(package: Path, folder: Path) -> None:
    """Install a package's folder with pip, without its dependencies and without the network."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation",
         "--no-index", "--no-compile", "--target", str(folder), str(package)],
        check=True,
    )  # fmt: skip


def run(folder: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python beside the packages in `folder`."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
