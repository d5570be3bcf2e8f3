"""The training loop."""

import statistics
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamt_ray.data.device import autocast, matrix_products
from tamt_ray.data.history import History, NonFiniteLossError, check_finite
from tamt_ray.data.phases import phase
from tamt_ray.data.seeds import derive
from tamt_ray.finetune.batches import collate, epoch_batches, evaluation_batches
from tamt_ray.finetune.model import Network
from tamt_ray.masks.mask import KeptZero
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Examples
from tamt_ray.tasks.metrics.base import Predictions
from tamt_ray.tasks.scores import Evaluation
from tamt_ray.values.base import OnProgress
from tamt_ray.values.training import Precision

_LOG_EVERY = 10
"""Steps between two looks at the loss; on a GPU each look waits for the device."""
EVALUATION_FACTOR = 4
"""Without gradients this many times a training batch fits."""


def fine_tune(
    network: Network,
    data: Examples,
    validation: Sequence[Examples],
    task: Task,
    seed: int,
    device: torch.device,
    history: History,
    progress: OnProgress | None,
    pruned: KeptZero | None = None,
) -> list[Evaluation]:
    """Train in place; the evaluations in order, the last one after the last step.

    Weights that are `pruned` stay zero.

    Raises NonFiniteLossError with the step whose loss, or whose outputs, are not finite.
    """
    lengths = data.sequences.lengths
    steps = task.epochs * -(-len(lengths) // task.batch_size)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": task.weight_decay},
            # Biases and LayerNorm weights are the vectors.
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=task.lr,
        betas=(0.9, 0.999),
        eps=task.eps,
        fused=True,
    )
    evaluations: list[Evaluation] = []
    pending: list[Tensor] = []
    step = 0
    network.train()
    for epoch in range(task.epochs):
        for indices in epoch_batches(lengths, task.batch_size, seed, epoch):
            lr = task.lr * (steps - step) / steps
            step += 1
            for group in optimizer.param_groups:
                group["lr"] = lr
            with phase("collating"):
                batch = collate(data.sequences, indices, device)
            torch.manual_seed(derive("dropout", seed, step))
            with phase("forward and backward"), matrix_products(task.precision):
                with autocast(task.precision, device):
                    loss = data.loss(network(batch.inputs, padded=batch.padded), batch)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
            if pruned is not None:
                with phase("pruned gradients"):
                    pruned.clear_gradients()
            with phase("clipping"):
                torch.nn.utils.clip_grad_norm_(parameters, task.clip)
            with phase("optimiser"):
                optimizer.step()
            pending.append(loss.detach())
            evaluate_now = step % task.eval_every == 0 or step == steps
            if evaluate_now or step % _LOG_EVERY == 0:
                history.log(step, loss=_mean_loss(pending, step), lr=lr)
                pending.clear()
                if progress is not None:
                    progress(step, steps)
            if evaluate_now:
                with phase("evaluation"):
                    evaluations.append(_evaluate(network, validation, task, device, step))
                history.log(step, **evaluations[-1].metrics)
                network.train()
    return evaluations


def outputs(
    network: Network,
    data: Examples,
    batch_size: int,
    device: torch.device,
    precision: Precision = "float32",
) -> list[NDArray[np.float32]]:
    """The network's output for every sequence, in the order of the sequences, without dropout.

    Each is [classes], or [tokens, 2] for spans, without its padding.
    """
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(data.sequences)
    lengths = data.sequences.lengths
    network.eval()
    with torch.inference_mode(), autocast(precision, device), matrix_products(precision):
        for indices in evaluation_batches(lengths, batch_size):
            batch = collate(data.sequences, indices, device)
            rows = network(batch.inputs, padded=batch.padded).float().cpu().numpy()
            for index, row in zip(indices.tolist(), rows, strict=True):
                found[index] = row[: lengths[index]] if row.ndim > 1 else row
    return found


def _evaluate(
    network: Network, validation: Sequence[Examples], task: Task, device: torch.device, step: int
) -> Evaluation:
    metrics: dict[str, float] = {}
    first: Predictions | None = None
    for number, data in enumerate(validation, start=1):
        found = outputs(network, data, EVALUATION_FACTOR * task.batch_size, device, task.precision)
        if not all(np.isfinite(row).all() for row in found):
            raise NonFiniteLossError(step, float("nan"))
        suffix = "" if number == 1 else f"_{number}"
        predictions = data.predictions(found)
        first = first or predictions
        metrics |= {
            f"{name}{suffix}": kind.compute(predictions) for name, kind in task.measured.items()
        }
    return Evaluation(step, metrics, first)


def _mean_loss(pending: list[Tensor], last: int) -> float:
    """The mean of the losses since the last look, the newest being that of step `last`."""
    values: list[float] = torch.stack(pending).tolist()
    for step, value in enumerate(values, start=last - len(values) + 1):
        check_finite(value, step)
    return statistics.fmean(values)
