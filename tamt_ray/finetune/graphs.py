"""Steps of a fine-tune as CUDA graphs, one pair per shape of batch that comes often.

The first graph is the forward pass up to the outputs, the second one backward pass, clipping and
AdamW. The two of a shape are replayed back to back. The loss between them is the task's own code
and runs as ever. Never run on a GPU.
"""

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tamt_ray.data.device import autocast, matrix_products
from tamt_ray.data.graphs import Recorder, Work
from tamt_ray.finetune.model import Network
from tamt_ray.finetune.step import TrainingStep
from tamt_ray.masks.mask import KeptZero
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Batch, Examples, Indices

Shape = tuple[int, int, bool]
"""Rows and length of a batch, and whether any row is padded."""

WORTH = 12
"""Batches of a shape that pay for its recording: an estimate of 150 ms over 14 ms per step."""
MOST = 32
"""Shapes that are recorded at most; graphs take memory outside Torch's allocator too."""


def frequent_shapes(
    batches: Iterable[Indices], lengths: Indices, worth: int = WORTH
) -> frozenset[Shape]:
    """Return the most frequent shapes of the batches, those that come `worth` times or more."""
    found = Counter[Shape]()
    for batch in batches:
        rows = lengths[batch]
        longest = int(rows.max())
        found[len(rows), longest, bool(rows.min() < longest)] += 1
    return frozenset(shape for shape, times in found.most_common(MOST) if times >= worth)


@dataclass(frozen=True)
class _Recorded:
    """The two halves of a step at one shape, and the memory they read and write."""

    inputs: dict[str, Tensor]
    forward: Work
    outputs: Tensor
    gradient: Tensor
    """∂loss/∂outputs."""
    backward: Work


class RecordedStep(TrainingStep):
    """The same computation. Batches of frequent shapes are replayed but for the first one of each
    shape, in which libraries load what they need."""

    def __init__(
        self,
        record: Recorder,
        shapes: frozenset[Shape],
        network: Network,
        data: Examples,
        task: Task,
        device: torch.device,
        pruned: KeptZero | None = None,
    ) -> None:
        super().__init__(network, data, task, device, pruned)
        self._record_work, self._shapes = record, shapes
        self._seen = set[Shape]()
        self._recorded: dict[Shape, _Recorded] = {}
        # A graph keeps the host's numbers as they are. AdamW's kernel on a GPU reads a float32.
        on_gpu = device.type == "cuda"
        kind = torch.float32 if on_gpu else torch.float64
        self._rate = torch.zeros((), dtype=kind, device=device)
        for group in self._optimizer.param_groups:
            group["lr"], group["capturable"] = self._rate, on_gpu
        # Torch warns of a step outside of a graph.
        self._optimizer._warned_capturable_if_run_uncaptured = True

    def __call__(self, batch: Batch, lr: float) -> Tensor:
        recorded = self._find(batch)
        if recorded is None:
            loss = super().__call__(batch, lr)
            # A replay has gradients in memory of its own.
            self._optimizer.zero_grad(set_to_none=True)
            return loss
        self._set_rate(lr)
        for name, values in batch.inputs.items():
            recorded.inputs[name].copy_(values)
        recorded.forward()
        outputs = recorded.outputs.detach().requires_grad_()
        with matrix_products(self._task.precision):
            with autocast(self._task.precision, self._device):
                loss = self._data.loss(outputs, batch)
            (gradient,) = torch.autograd.grad(loss, outputs)
        recorded.gradient.copy_(gradient)
        recorded.backward()
        # A loss may share the memory of the outputs.
        return loss.detach().clone()

    def _set_rate(self, lr: float) -> None:
        self._rate.fill_(lr)

    def _find(self, batch: Batch) -> _Recorded | None:
        """Return what replays a batch, recorded at the second batch of a frequent shape."""
        rows, length = batch.inputs["input_ids"].shape
        shape = rows, length, batch.padded
        if shape in self._shapes and shape in self._seen and shape not in self._recorded:
            try:
                self._recorded[shape] = self._record(batch)
            except torch.OutOfMemoryError:
                # The steps themselves may fit.
                warnings.warn(
                    "out of memory: this fine-tune goes on without CUDA graphs", stacklevel=2
                )
                self._shapes = frozenset()
                self._recorded.clear()
                self._optimizer.zero_grad(set_to_none=True)
        self._seen.add(shape)
        return self._recorded.get(shape)

    def _record(self, batch: Batch) -> _Recorded:
        precision = self._task.precision
        inputs = {name: values.clone() for name, values in batch.inputs.items()}
        made: list[Tensor] = []

        def forward() -> None:
            with matrix_products(precision), autocast(precision, self._device):
                made.append(self._network(inputs, padded=batch.padded))

        replay = self._record_work(forward)
        outputs = made.pop()
        gradient = torch.zeros_like(outputs)

        def backward() -> None:
            with matrix_products(precision):
                outputs.backward(gradient)
            self._apply_gradients()
            self._optimizer.zero_grad(set_to_none=True)

        # Autograd's part of the outputs, and with it what the forward pass saved, ends here.
        return _Recorded(inputs, replay, outputs.detach(), gradient, self._record_work(backward))
