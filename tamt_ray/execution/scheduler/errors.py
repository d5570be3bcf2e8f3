"""Classification of errors as faults."""

import re

import torch
from ray.exceptions import OutOfMemoryError as HostOutOfMemoryError
from ray.exceptions import RayActorError, RayTaskError
from ray.train import WorkerGroupError
from ray.train.v2.api.exceptions import PreemptionError

from tamt_ray.data.cache import SourceError
from tamt_ray.execution.scheduler.faults import Fault, LeavingError
from tamt_ray.search.process_group import RanksDifferError
from tamt_ray.store.trouble import DamagedError, LeaseLostError, StoreError


class KilledForMemoryError(RayActorError):
    """Ray's memory monitor killed a worker: its host ran out of memory."""


_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|running low on memory"
    r"|_STATUS_(?:\w+_)?ALLOC(?:ATION)?_FAILED|_STATUS_INSUFFICIENT_RESOURCES",
    re.IGNORECASE,
)
_NO_GPU = re.compile(
    r"Found no NVIDIA driver|NVIDIA driver on your system is too old|CUDA driver initialization"
    r"|cudaGetDeviceCount|CUDA unknown error|No CUDA GPUs are available|no CUDA-capable device"
    r"|invalid device ordinal|busy or unavailable|not compiled with CUDA|no kernel image"
    r"|system not yet initialized|driver combination|uncorrectable ECC|GPU is lost"
    r"|MPS client failed to connect|MPS server is not ready|to create MPS client"
    r"|to support device connections",
    re.IGNORECASE,
)
"""A driver, a device or the service that shares it is missing, broken, or not the one that Torch
was built for."""
_GPU = re.compile(r"CUDA (?:driver )?error|cuDNN error|\bCU[A-Z]+_STATUS_|Triton Error \[CUDA\]")
"""A library of the GPU failed, and may go on failing in this process."""
_NODE = re.compile(r"its node has died|node was terminated|node (?:is|was) (?:dead|drained)")
_PEER = re.compile(r"\bgloo\b|\bNCCL\b|Connection (?:closed|reset) by peer", re.IGNORECASE)
_KERNEL = re.compile(r"Some common causes include.*", re.DOTALL)
"""Ray's guesses at why a process died name the kernel's killer each time."""


def fault_of(error: BaseException) -> Fault:
    """Return the class of what a unit raised, or of what Ray says about its worker."""
    match error:
        case WorkerGroupError():
            return _worst(error)
        case LeavingError():
            return error.fault
        case PreemptionError():
            return Fault.NODE
        case (
            MemoryError()
            | torch.OutOfMemoryError()
            | HostOutOfMemoryError()
            | KilledForMemoryError()
        ):
            return Fault.MEMORY
        case DamagedError() | LeaseLostError():
            return Fault.ERROR
        case SourceError() | StoreError() | OSError():
            return Fault.PLACE
        case RayActorError() if error.preempted:
            return Fault.NODE
        case RayTaskError() if isinstance(error.cause, Exception):
            return fault_of(error.cause)
        case RanksDifferError():
            return Fault.DIED
        case torch.distributed.DistError() | torch.AcceleratorError():
            # A companion was lost; or the device is in a state that only a new process gets out of.
            fault = _by_words(error)
            return Fault.DIED if fault is Fault.ERROR else fault
        case _:
            return _by_words(error)


def _by_words(error: BaseException) -> Fault:
    """Classify an error by its text: allocators, GPU libraries and process groups raise plain
    RuntimeErrors, Torch without CUDA an AssertionError, and Train wraps Ray's words on a lost
    worker."""
    words = _KERNEL.sub("", f"{type(error).__name__}: {error}")
    if _NODE.search(words):
        return Fault.NODE
    if isinstance(error, RuntimeError | AssertionError):
        if _NO_GPU.search(words):
            return Fault.PLACE
        if _MEMORY.search(words):
            return Fault.MEMORY
        if _GPU.search(words) or _PEER.search(words):
            return Fault.DIED
    lost = isinstance(error, RayActorError) or "actor died" in words or "worker died" in words
    return Fault.DIED if lost else Fault.ERROR


def _worst(error: WorkerGroupError) -> Fault:
    """Return the fault that caused the others: when one worker is lost, its companions fail too."""
    met = {fault_of(each) for each in error.worker_failures.values()}
    order = (Fault.STOP, Fault.NODE, Fault.MEMORY, Fault.PLACE, Fault.DIED, Fault.ERROR)
    return next((fault for fault in order if fault in met), Fault.DIED)
