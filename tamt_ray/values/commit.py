"""The commit of this software, where it is known."""

import json
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


@cache
def commit() -> str:
    """Return the hash of the commit that the package was installed from, or that its checkout is
    at; empty if there is neither."""
    if (_PACKAGE.parent / ".git").exists():
        try:
            found = subprocess.run(
                ["git", "-C", str(_PACKAGE.parent), "rev-parse", "HEAD"],
                capture_output=True, text=True, check=True, timeout=10,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            # Without git, or in a checkout of another user: the report goes without it.
            return ""
        return found.stdout.strip()
    try:
        origin = distribution("tamt-ray").read_text("direct_url.json")
    except PackageNotFoundError:
        return ""
    return json.loads(origin).get("vcs_info", {}).get("commit_id", "") if origin else ""
