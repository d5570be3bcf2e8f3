"""NVIDIA's Multi-Process Service: processes on one GPU compute at the same time, not in turns."""

import os
import shutil
import subprocess
from pathlib import Path

_PIPES = "CUDA_MPS_PIPE_DIRECTORY"
_CONTROL = "nvidia-cuda-mps-control"


def mps_trouble() -> str | None:
    """Return the reason why this node's service cannot be used; None where its daemon answers."""
    pipe = Path(os.environ.get(_PIPES, "/tmp/nvidia-mps"), "control")
    if not pipe.exists():
        return f"no MPS daemon runs here: there is no {pipe}"
    if shutil.which(_CONTROL) is None:
        return None
    try:
        asked = subprocess.run(
            [_CONTROL], input="get_server_list\n", capture_output=True, text=True, timeout=20,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "the MPS daemon does not answer"
    said = " ".join((asked.stdout + asked.stderr).split())
    return f"the MPS daemon does not answer: {said}" if asked.returncode else None


def use_mps(wanted: bool) -> None:
    """Set whether CUDA, not yet started in this process, uses the node's service.

    Raises OSError where it is wanted and does not run: CUDA would go on without a word.
    """
    if not wanted:
        # CUDA goes on without a daemon that it does not reach.
        os.environ[_PIPES] = os.devnull
    elif trouble := mps_trouble():
        raise OSError(trouble)
