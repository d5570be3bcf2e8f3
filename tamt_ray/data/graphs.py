"""CUDA graphs: work on a GPU that is recorded once and replayed. Never run on a GPU.

A graph holds the kernels of some work with their addresses and numbers; a replay starts them all at
once, where the host would start some thousand one by one.
"""

import warnings
from collections.abc import Callable

import torch
from transformers import PreTrainedConfig

from tamt_ray.data.device import takes_whole_mask

Work = Callable[[], None]
Recorder = Callable[[Work], Work]
"""Takes work on a device, which it does not do yet, and returns a function that does it: on the
same memory, with the host's numbers of this moment."""


def graph_recorder(device: torch.device, config: PreTrainedConfig, lane: str) -> Recorder | None:
    """Return the recorder of CUDA graphs; None, with a warning, where there can be none."""
    if device.type != "cuda":
        reason = "CUDA graphs need a GPU, and this runs on a CPU"
    elif not takes_whole_mask(config):
        attention = config._attn_implementation
        reason = (
            f"in a forward pass of {config.model_type} with {attention} attention the host may "
            "wait for the GPU"
        )
    else:
        return cuda_recorder()
    warnings.warn(f"execution.{lane}.graphs is ignored: {reason}", stacklevel=2)
    return None


def cuda_recorder() -> Recorder:
    """Return a recorder of CUDA graphs. They share a pool of memory: work that reads what earlier
    work left must be recorded before anything that may overwrite it, and be replayed in the order
    of the recordings."""
    pool = torch.cuda.graph_pool_handle()

    def record(work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool):
                work()
        except torch.OutOfMemoryError:
            raise  # The recording was ended in good order.
        except Exception as error:
            # Generator and allocator of this process are left in the middle of a recording.
            raise torch.AcceleratorError(
                f"CUDA error: a step cannot be recorded: {error}"
            ) from error
        return graph.replay

    return record
