"""`gpus: auto` for fine-tunes: which share of a GPU one needs."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError

from tamt_ray.execution.scheduler.errors import fault_of
from tamt_ray.execution.scheduler.faults import Fault
from tamt_ray.execution.scheduler.placement import Node, largest_share
from tamt_ray.execution.worker.inherited import Inherited
from tamt_ray.execution.worker.mps import use_mps
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.finetune.loop import EVALUATION_FACTOR
from tamt_ray.spec.execution import FinetuneLane
from tamt_ray.spec.sweep import Sweep
from tamt_ray.tasks.base import Task
from tamt_ray.values.model import Model


def measured_share(
    sweep: Sweep, nodes: Sequence[Node], on_poll: Callable[[], None] = lambda: None
) -> float:
    """GPUs of one fine-tune: what the sweep says, or 1/k so that the largest one fits everywhere.

    Measured with the longest rows of each model and task on one GPU of every type there is, so that
    no later batch needs more; the fleet has one share for all. No smaller than the CPUs beside a
    GPU can use: memory that no neighbour gets would lie idle. 0 where there are no GPUs. `look` is
    called every second meanwhile.
    """
    lane = sweep.execution.finetune
    if lane.gpus != "auto":
        return lane.gpus
    types = gpu_types(nodes)
    if not sweep.tasks or not types:
        return 0.0
    peaks: list[Any] = []
    inherited = Inherited.of_this_process()
    for kind in types:
        of_type: Any = {"accelerator_type": kind} if kind else {}
        probe = ray.remote(num_gpus=1, max_retries=3, **of_type)(_peak_share)
        peaks += [
            probe.remote(model, task, inherited, lane)
            for model in sweep.models.values()
            for task in sweep.tasks.values()
        ]
    return max([*_given(peaks, on_poll), _share_by_cpus(nodes, lane.cpus)])


def _given(probes: list[Any], on_poll: Callable[[], None]) -> Iterator[float]:
    """Yield the results of the probes; of a failed one the fine-tunes report the error."""
    while probes:
        done, probes = ray.wait(probes, timeout=1)
        on_poll()
        for probe in done:
            with contextlib.suppress(RayTaskError):
                yield ray.get(probe)


def _share_by_cpus(nodes: Sequence[Node], cpus: float) -> float:
    """1/k with k the fine-tunes of so many `cpus` that a GPU has CPUs for where it has most."""
    most = max(
        math.floor(node.get("CPU", 0) / cpus + 1e-9) / node["GPU"]
        for node in nodes
        if node.get("GPU", 0) > 0
    )
    return 1 / max(1, math.ceil(most - 1e-9))


def gpu_types(nodes: Sequence[Node]) -> list[str | None]:
    """Return the types of the nodes' GPUs as Ray names them, each once; None for those it does not
    know. Empty where there are no GPUs."""
    prefix = "accelerator_type:"
    found = {
        next((name.removeprefix(prefix) for name in node if name.startswith(prefix)), None)
        for node in nodes
        if node.get("GPU", 0) > 0
    }
    return sorted(found, key=str)


def _peak_share(model: Model, task: Task, inherited: Inherited, lane: FinetuneLane) -> float:
    """Return the share that the peak memory of a short fine-tune asks for; a whole GPU if none is
    seen.

    It trains on the longest rows, evaluates the largest batch of them, and has every word of the
    model. The flags of a mask, a byte per weight, are left to the reserve. CUDA graphs are recorded
    at the second batch of a shape; the memory that they take outside the allocator is not seen.
    """
    use_mps(lane.share == "mps")
    if not torch.cuda.is_available():
        return 1.0
    inherited.take()
    short = task.model_copy(
        update={"max_train": None, "max_validation": None, "epochs": 2 if lane.graphs else 1}
    )
    device = torch.device("cuda")
    torch.cuda.reset_peak_memory_stats(device)
    try:
        Finetuner(device, longest=EVALUATION_FACTOR * task.batch_size).run(
            model, short, 0, None, graphs=lane.graphs
        )
    except RuntimeError as error:
        # A unit whose recording fails runs without graphs the next time, on a GPU of its own here.
        if fault_of(error) is not Fault.MEMORY and not lane.graphs:
            raise
        # The fleet will say so of the units that do not fit.
        return 1.0
    free, total = torch.cuda.mem_get_info(device)
    # This process is alone on the GPU: what is taken beside the allocator's memory is its own.
    outside = total - free - torch.cuda.memory_reserved(device)
    return largest_share(torch.cuda.max_memory_reserved(device), total, outside)
