"""The device of a worker."""

import os
from collections.abc import Callable

import torch


def worker_device(
    gpus: float,
    gpu: Callable[[], torch.device] = lambda: torch.device("cuda", 0),
    *,
    deterministic: bool = False,
) -> torch.device:
    """The device of a worker to which Ray gave `gpus`: the CPU, or the GPU that `gpu` names.

    A worker that shares its GPU gets no more of its memory than its share. `deterministic` has
    Torch use deterministic algorithms only. Raises OSError where no GPU works: on another machine
    one may. `TAMT_LOGICAL_GPUS` says that the GPUs are Ray's invention, so that all computes on
    CPUs, as in tests.
    """
    if not gpus or os.environ.get("TAMT_LOGICAL_GPUS"):
        return torch.device("cpu")
    if deterministic:
        # cuBLAS reads it when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        torch.cuda.init()
        device = gpu()
        torch.cuda.set_device(device)
        if gpus < 1:
            torch.cuda.set_per_process_memory_fraction(gpus)
    except (RuntimeError, AssertionError) as error:
        raise OSError(f"Ray gave this worker {gpus:g} GPUs, but none works: {error}") from error
    return device
