"""The released code's mask-training step, written anew.

Masks are made and multiplied in every forward pass, logits cover the vocabulary at every position,
and the optimiser takes tensor after tensor.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from transformers import BertForMaskedLM

from tamt_ray.search.mlm_corruption import Corrupted

THRESHOLD = 0.01


class _Binarize(torch.autograd.Function):
    """1 above the threshold, else 0; the gradient passes unchanged."""

    @staticmethod
    def forward(_ctx: FunctionCtx, scores: Tensor) -> Tensor:  # pyright: ignore
        """In the three passes of the released code."""
        mask = scores.clone()
        mask[scores <= THRESHOLD] = 0.0
        mask[scores > THRESHOLD] = 1.0
        return mask

    @staticmethod
    def backward(_ctx: FunctionCtx, grad: Tensor) -> Tensor:  # pyright: ignore
        """Straight through."""
        return grad


class Masked(nn.Module):
    """A linear layer or an embedding whose frozen weight is multiplied with its mask."""

    def __init__(self, layer: nn.Linear | nn.Embedding, sparsity: float) -> None:
        super().__init__()
        self._layer = layer
        magnitude = layer.weight.detach().abs()
        zeros = int(magnitude.numel() * sparsity)
        kept = magnitude > magnitude.flatten().kthvalue(zeros).values
        self.scores = nn.Parameter(2 * THRESHOLD * kept)

    def forward(self, inputs: Tensor) -> Tensor:
        """As the layer, with W ⊙ M."""
        weight = self._layer.weight * cast("Tensor", _Binarize.apply(self.scores))
        if isinstance(self._layer, nn.Embedding):
            return functional.embedding(inputs, weight, self._layer.padding_idx)
        return functional.linear(inputs, weight, self._layer.bias)


class LoopedAdamW(torch.optim.Optimizer):
    """AdamW as transformers had it: one tensor after the other, several passes each."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore
        """Move every parameter that has a gradient."""
        (group,) = self.param_groups
        first, second = group["betas"]
        for parameter in group["params"]:
            gradient, state = parameter.grad, self.state[parameter]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] += 1
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            mean.mul_(first).add_(gradient, alpha=1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            rate = group["lr"] * math.sqrt(1 - second ** state["step"])
            rate /= 1 - first ** state["step"]
            parameter.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-rate)


class ReleasedStep:
    """`tamt_mlm`, from the OMP mask, without re-ranking."""

    def __init__(self, path: Path, sparsity: float, lr: float = 5e-5) -> None:
        self.model = BertForMaskedLM.from_pretrained(path).train().requires_grad_(False)
        predictions = self.model.cls.predictions
        # The decoder keeps the dense matrix.
        self._head = [p for p in predictions.parameters() if p is not predictions.decoder.weight]
        for parameter in self._head:
            parameter.requires_grad_(True)
        embeddings = self.model.bert.embeddings
        self.masked = {"embeddings.word_embeddings": Masked(embeddings.word_embeddings, sparsity)}
        embeddings.set_submodule("word_embeddings", self.masked["embeddings.word_embeddings"])
        for name, module in list(self.model.bert.encoder.named_modules(prefix="encoder")):
            if isinstance(module, nn.Linear):
                parent, own = name.rsplit(".", 1)
                self.masked[name] = Masked(module, sparsity)
                setattr(self.model.bert.get_submodule(parent), own, self.masked[name])
        self._trained = [*(m.scores for m in self.masked.values()), *self._head]
        self._optimizer = LoopedAdamW(self._trained, lr)

    def __call__(self, batch: Corrupted) -> Tensor:
        """Train one step; its loss."""
        loss = self.backward(batch)
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self.model.zero_grad()
        return loss

    def backward(self, batch: Corrupted) -> Tensor:
        """Leave fresh gradients; the loss."""
        labels = torch.full_like(batch.ids, -100)
        labels.view(-1)[batch.places] = batch.labels
        hidden = self.model.bert(batch.ids).last_hidden_state
        logits = self.model.cls(hidden)
        loss = functional.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))
        loss.backward()
        return loss.detach()

    def rerank(self, sparsity: float) -> list[float]:
        """φ of every matrix by `kthvalue`, as the released code finds it now and then."""
        return [
            m.scores.detach().flatten().kthvalue(int(m.scores.numel() * sparsity)).values.item()
            for m in self.masked.values()
        ]
