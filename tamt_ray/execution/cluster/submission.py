"""A sweep handed to a cluster as a Ray job: only the code and the sweep travel."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

_LARGEST = 16 << 20
"""Bytes; the code is about one megabyte, and whatever is larger got in by mistake."""
_FORWARDED = ("TAMT_MIRROR", "HF_HUB_OFFLINE")
"""Variables that a submitted job takes over."""

_STARTS = 60.0
"""Seconds in which the dashboard of a young cluster finds the agent that starts jobs."""


class SubmissionError(RuntimeError):
    """The cluster did not take the job."""


class TooLargeError(ValueError):
    """More would travel than code and a sweep file."""


def check_size(files: Mapping[str, Path]) -> int:
    """Return the bytes of what would travel. Raises TooLargeError naming the largest files."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    total = sum(sizes.values())
    if total > _LARGEST:
        largest = sorted(sizes.items(), key=lambda one: -one[1])[:5]
        listed = "\n".join(f"  {size / 1e6:10.1f} MB  {files[name]}" for name, size in largest)
        raise TooLargeError(
            f"{total / 1e6:.0f} MB would travel, and {_LARGEST / 1e6:.0f} MB are allowed; move "
            f"what is no code out of the package. The largest are\n{listed}"
        )
    return total


def submit(address: str, folder: Path, entrypoint: str, name: str) -> str:
    """Return the id of a job that runs on the head node with a copy of `folder` as its directory.

    `address` is that of the dashboard, `http://…`. Raises SubmissionError.
    """
    # Needs what only `ray[default]` brings.
    from ray.job_submission import JobSubmissionClient

    forwarded = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    until = time.monotonic() + _STARTS
    while True:
        try:
            return JobSubmissionClient(address).submit_job(
                entrypoint=entrypoint,
                runtime_env={"working_dir": str(folder), "env_vars": forwarded},
                metadata={"sweep": name},
            )
        except (RuntimeError, ConnectionError, ValueError, OSError) as error:
            if "No available agent" in str(error) and time.monotonic() < until:
                time.sleep(1)
                continue
            raise SubmissionError(
                f"no Ray dashboard takes the job at {address}: "
                f"{' '.join(str(error).split())[:300]}; open a tunnel with `ray dashboard "
                "cluster/….yaml`, and check the token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH)"
            ) from error
