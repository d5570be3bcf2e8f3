"""The device of a worker, and the memory of one that trains on a CPU."""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from tamt_ray.execution.worker.mps import use_mps

OUTSIDE = 600 << 20
"""Bytes of a GPU that a process takes outside Torch's allocator: context and kernels of libraries.
By others' reports .3 to .6 GB; never measured here."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names in `malloc.h`."""
_MOST, _OLD_MOST = 2**31 - 1, 2**25
"""Bytes; older versions of the C library know a smaller limit for single blocks."""


def worker_device(
    gpus: float,
    gpu: Callable[[], torch.device] = lambda: torch.device("cuda", 0),
    *,
    deterministic: bool = False,
    mps: bool = False,
) -> torch.device:
    """Return the device of a worker to which Ray gave `gpus`: the CPU, or the GPU that `gpu` names.

    A worker that shares its GPU gets no more of its memory than its share, and with `mps` shares it
    by NVIDIA's service. `deterministic` has Torch use deterministic algorithms only. Raises OSError
    where no GPU works, or not in the way asked for: on another machine one may. `TAMT_LOGICAL_GPUS`
    says that the GPUs are Ray's invention, so that all computes on CPUs, as in tests.
    """
    if not gpus or os.environ.get("TAMT_LOGICAL_GPUS"):
        return torch.device("cpu")
    if deterministic:
        # cuBLAS reads it when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    # A whole GPU is not shared, and under the service a fault of one client ends all.
    use_mps(mps and gpus < 1)
    try:
        torch.cuda.init()
        device = gpu()
        torch.cuda.set_device(device)
        if gpus < 1:
            total = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(max(gpus / 2, gpus - OUTSIDE / total))
    except (RuntimeError, AssertionError) as error:
        raise OSError(f"Ray gave this worker {gpus:g} GPUs, but none works: {error}") from error
    return device


def keep_freed_memory() -> bool:
    """Keep freed memory in this process for its next step; return whether it does.

    Otherwise the C library gives large blocks back to the system, which clears every page anew
    for the next step. Where that library is not GNU's, nothing changes.
    """
    mallopt = _allocator("mallopt")
    if mallopt is None:
        return False
    large = mallopt(_MMAP_THRESHOLD, _MOST) or mallopt(_MMAP_THRESHOLD, _OLD_MOST)
    return bool(large and mallopt(_TRIM_THRESHOLD, _MOST))


def give_back_memory(most: int = _MOST) -> bool:
    """Return free memory to the system if this process holds more than `most` bytes; return whether
    it did. Units of different shapes leave holes, which add up over hours."""
    trim = _allocator("malloc_trim")
    if trim is None:
        return False
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    if (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") <= most:
        return False
    return bool(trim(0))


def _allocator(name: str) -> Callable[..., int] | None:
    """Return a function of the GNU C library; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
