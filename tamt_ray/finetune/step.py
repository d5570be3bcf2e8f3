"""One step of a fine-tune."""

import numpy as np
import torch
from torch import Tensor

from tamt_ray.data.device import autocast, matrix_products
from tamt_ray.data.phases import phase
from tamt_ray.finetune.model import Network
from tamt_ray.masks.mask import KeptZero
from tamt_ray.tasks.base import Task
from tamt_ray.tasks.features.examples import Batch, Examples


class TrainingStep:
    """Forward and backward pass, clipping and AdamW."""

    def __init__(
        self,
        network: Network,
        data: Examples,
        task: Task,
        device: torch.device,
        pruned: KeptZero | None = None,
    ) -> None:
        """Weights that are `pruned` stay zero."""
        self._network, self._data, self._task, self._device = network, data, task, device
        self._pruned = pruned
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        matrices = [p for p in self._parameters if p.ndim > 1]
        # Biases and LayerNorm weights are the vectors.
        vectors = [p for p in self._parameters if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": task.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=task.lr,
            betas=(0.9, 0.999),
            eps=task.eps,
            fused=True,
        )

    def __call__(self, batch: Batch, lr: float) -> Tensor:
        """Train on a batch; return its loss."""
        self._set_rate(lr)
        with phase("forward and backward"), matrix_products(self._task.precision):
            with autocast(self._task.precision, self._device):
                loss = self._data.loss(self._network(batch.inputs, padded=batch.padded), batch)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self._apply_gradients()
        return loss.detach()

    def _set_rate(self, lr: float) -> None:
        if self._device.type == "cuda":
            # A recorded step reads the rate from the device, in float32.
            lr = float(np.float32(lr))
        for group in self._optimizer.param_groups:
            group["lr"] = lr

    def _apply_gradients(self) -> None:
        if self._pruned is not None:
            with phase("pruned gradients"):
                self._pruned.clear_gradients()
        with phase("clipping"):
            torch.nn.utils.clip_grad_norm_(self._parameters, self._task.clip)
        with phase("optimiser"):
            self._optimizer.step()
