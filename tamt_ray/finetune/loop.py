"""The fine-tuning loop over batches of sequences of similar length."""

import itertools
import statistics
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamt_ray.data.device import autocast, matrix_products, send
from tamt_ray.data.graphs import Recorder
from tamt_ray.data.history import History, NonFiniteLossError, check_finite
from tamt_ray.data.phases import phase
from tamt_ray.data.seeds import derive
from tamt_ray.finetune.graphs import WORTH, RecordedStep, frequent_shapes
from tamt_ray.finetune.model import Network
from tamt_ray.finetune.step import TrainingStep
from tamt_ray.masks.mask import KeptZero
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Batch, Examples, Indices, PackedSequences
from tamt_ray.tasks.metrics.base import Predictions
from tamt_ray.tasks.scores import Evaluation
from tamt_ray.values.base import OnProgress
from tamt_ray.values.training import Precision

_WINDOW, _WINDOWS = 50, 4
"""At most so many batches are sorted by length together, and at most one in so many of an epoch:
enough to save padding, few enough that epochs have different batches."""
_LOG_EVERY = 10
"""Steps between two looks at the loss; on a GPU each look waits for the device."""
EVALUATION_FACTOR = 4
"""Without gradients this many times a training batch fits."""


def epoch_batches(lengths: Indices, size: int, seed: int, epoch: int) -> list[Indices]:
    """Return an epoch: each sequence once, in ⌈n / size⌉ batches of similar length in random
    order."""
    generator = torch.Generator().manual_seed(derive("epoch", seed, epoch))
    order = torch.randperm(len(lengths), generator=generator).numpy()
    batches: list[Indices] = []
    together = size * max(1, min(_WINDOW, len(order) // (_WINDOWS * size)))
    for start in range(0, len(order), together):
        window = order[start : start + together]
        batches += _cut(window[np.argsort(lengths[window], kind="stable")], size)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def evaluation_batches(lengths: Indices, size: int) -> list[Indices]:
    """Return each sequence once, longest first, so that memory runs out at once or never."""
    return _cut(np.argsort(-lengths, kind="stable"), size)


def collate(sequences: PackedSequences, indices: Indices, device: torch.device) -> Batch:
    """Return the sequences padded to the longest of them, on the device."""
    lengths = sequences.lengths[indices]
    columns = np.arange(lengths.max())
    inside = columns < lengths[:, None]
    tokens = (sequences.starts[indices][:, None] + columns)[inside]
    arrays = {"input_ids": np.full(inside.shape, sequences.pad_id, dtype=np.int64)}
    arrays["input_ids"][inside] = sequences.ids[tokens]
    arrays["attention_mask"] = inside.astype(np.int64)
    if sequences.types is not None:
        arrays["token_type_ids"] = np.zeros(inside.shape, dtype=np.int64)
        arrays["token_type_ids"][inside] = sequences.types[tokens]
    inputs = {name: send(torch.from_numpy(array), device) for name, array in arrays.items()}
    return Batch(indices, inputs, padded=not inside.all())


def _cut(order: Indices, size: int) -> list[Indices]:
    return [order[start : start + size] for start in range(0, len(order), size)]


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
    record: Recorder | None = None,
    worth: int = WORTH,
) -> list[Evaluation]:
    """Train in place; the evaluations in order, the last one after the last step.

    Weights that are `pruned` stay zero. With `record`, steps of shapes that come `worth` times are
    replayed (`finetune.graphs`).

    Raises NonFiniteLossError with the step whose loss, or whose outputs, are not finite.
    """
    lengths = data.sequences.lengths
    steps = task.epochs * -(-len(lengths) // task.batch_size)
    epochs = (epoch_batches(lengths, task.batch_size, seed, epoch) for epoch in range(task.epochs))
    if record is None:
        train = TrainingStep(network, data, task, device, pruned)
    else:
        epochs = list(epochs)
        shapes = frequent_shapes(itertools.chain.from_iterable(epochs), lengths, worth)
        train = RecordedStep(record, shapes, network, data, task, device, pruned)
    evaluations: list[Evaluation] = []
    pending: list[Tensor] = []
    step = 0
    network.train()
    for batches in epochs:
        for indices in batches:
            lr = task.lr * (steps - step) / steps
            step += 1
            with phase("collating"):
                batch = collate(data.sequences, indices, device)
            torch.manual_seed(derive("dropout", seed, step))
            pending.append(train(batch, lr))
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
    """Return the network's output for every sequence, in the order of the sequences, without
    dropout.

    Each is [classes], or [tokens, 2] for spans, without its padding.
    """
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(data.sequences)
    lengths = data.sequences.lengths
    pending: list[tuple[Indices, Tensor]] = []
    network.eval()
    with torch.inference_mode(), autocast(precision, device), matrix_products(precision):
        for indices in evaluation_batches(lengths, batch_size):
            batch = collate(data.sequences, indices, device)
            pending.append((indices, network(batch.inputs, padded=batch.padded).float()))
    # A GPU computes all batches before the host reads the first one.
    for indices, rows in pending:
        for index, row in zip(indices.tolist(), rows.cpu().numpy(), strict=True):
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
    """Return the mean of the losses since the last look, the newest being that of step `last`."""
    values: list[float] = torch.stack(pending).tolist()
    for step, value in enumerate(values, start=last - len(values) + 1):
        check_finite(value, step)
    return statistics.fmean(values)
