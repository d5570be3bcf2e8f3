"""The step that a mask training wraps: the same tensors train, without any mask."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForMaskedLM

from tamt_ray.search.mlm_corruption import Corrupted


class DenseStep:
    """Word embedding, matrices of the layers and, for the MLM loss, the head train with AdamW.

    As its owner would write it: logits at masked positions only, a fused optimiser. The decoder is
    a frozen copy of the word embedding and everything else is frozen, as in a mask training.
    """

    def __init__(self, path: Path, terms: str) -> None:
        """`terms`: `mlm` or `kd`."""
        self.model = BertForMaskedLM.from_pretrained(path).train()
        self._terms = terms
        predictions = self.model.cls.predictions
        frozen = predictions.decoder.weight.detach().clone()
        predictions.decoder.weight = nn.Parameter(frozen, requires_grad=False)
        words = self.model.bert.embeddings.word_embeddings.weight
        self.trained: dict[str, nn.Parameter] = {}
        for name, parameter in self.model.named_parameters():
            of_layer = ".layer." in name and parameter.ndim == 2
            of_head = name.startswith("cls.") and parameter is not predictions.decoder.weight
            if parameter is words or of_layer or (of_head and terms == "mlm"):
                self.trained[name] = parameter
            else:
                parameter.requires_grad_(False)
        if terms == "kd":
            self.teacher = BertForMaskedLM.from_pretrained(path).bert.eval().requires_grad_(False)
        self._optimizer = torch.optim.AdamW(
            self.trained.values(), lr=5e-5, weight_decay=0.0, fused=True
        )

    def __call__(self, batch: Corrupted) -> Tensor:
        """Train one step; its loss."""
        loss = self.backward(batch)
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self._optimizer.step()
        return loss

    def backward(self, batch: Corrupted) -> Tensor:
        """Leave fresh gradients; the loss."""
        self._optimizer.zero_grad()
        loss = self._mlm(batch) if self._terms == "mlm" else self._kd(batch)
        loss.backward()
        return loss.detach()

    def _mlm(self, batch: Corrupted) -> Tensor:
        hidden = self.model.bert(batch.ids).last_hidden_state
        chosen = hidden.flatten(0, 1).index_select(0, batch.places)
        return functional.cross_entropy(self.model.cls(chosen), batch.labels)

    def _kd(self, batch: Corrupted) -> Tensor:
        with torch.no_grad():
            teacher = self.teacher(batch.ids, output_hidden_states=True).hidden_states[1:]
        student = self.model.bert(batch.ids, output_hidden_states=True).hidden_states[1:]
        return (
            1
            - functional.cosine_similarity(
                torch.stack(teacher), torch.stack(student), dim=-1
            ).mean()
        )
