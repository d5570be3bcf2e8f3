"""`gpus: auto` for fine-tunes: which share of a GPU one needs."""

from collections.abc import Sequence

import ray
import torch

from tamt_ray.execution.placement import Node, largest_share
from tamt_ray.finetune.finetuner import Finetuner
from tamt_ray.spec.model import Model
from tamt_ray.spec.sweep import Sweep
from tamt_ray.spec.task import Task


def measured_share(sweep: Sweep, nodes: Sequence[Node]) -> float:
    """GPUs of one fine-tune: what the sweep says, or 1/k so that the largest one fits.

    Measured on one GPU with a few batches of each model and task; 0 where there are no GPUs.
    """
    asked = sweep.execution.finetune.gpus
    if asked != "auto":
        return asked
    if not sweep.tasks or not any(node.get("GPU", 0) > 0 for node in nodes):
        return 0.0
    probe = ray.remote(num_gpus=1, max_retries=0)(_peak_share)
    return min(
        ray.get(
            [
                probe.remote(model, task)
                for model in sweep.models.values()
                for task in sweep.tasks.values()
            ]
        )
    )


def _peak_share(model: Model, task: Task) -> float:
    """The share that the peak memory of a short fine-tune asks for; a whole GPU if none is seen."""
    if not torch.cuda.is_available():
        return 1.0
    short = task.model_copy(
        update={
            "max_train": 8 * task.batch_size,
            "max_validation": 8 * task.batch_size,
            "epochs": 1,
        }
    )
    device = torch.device("cuda")
    torch.cuda.reset_peak_memory_stats(device)
    Finetuner(device).run(model, short, 0, None)
    total = torch.cuda.get_device_properties(device).total_memory
    return largest_share(torch.cuda.max_memory_reserved(device), total)
