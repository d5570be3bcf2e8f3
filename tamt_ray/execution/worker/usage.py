"""Resources that a unit took."""

import resource
import sys
import time

import torch

_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes that the system counts memory in."""


class Usage:
    """Measures from its making on; reading a few counters costs nothing in a training step."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._cpu = time.process_time()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self._cuda)

    def taken(self) -> dict[str, float]:
        """Return CPU seconds of this process, its largest memory so far and that of its GPU since
        the beginning, in bytes."""
        found = {
            "cpu_seconds": time.process_time() - self._cpu,
            "memory_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT),
        }
        if self._cuda:
            found["gpu_memory_bytes"] = float(torch.cuda.max_memory_allocated(self._cuda))
        return found
